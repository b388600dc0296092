"""The precision that a model's numbers are computed in, by device and by model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cinelet.backends.diffusers.families import Family
from cinelet.backends.diffusers.model_folder import ModelFolder
from cinelet.backends.diffusers.quantization import NETWORKS, QUANTIZED_BYTES
from cinelet.backends.diffusers.tensors import Footprint, footprint, stored_float

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Precision:
    """The name of torch's type for all components but those of `exact`, which are in float32."""

    name: str
    exact: tuple[str, ...] = ()

    @property
    def float_bytes(self) -> int:
        """Bytes of a number, of most components."""
        return _BYTES[self.name]

    def bytes_of(self, component: str) -> int:
        """Return the bytes of a number of a component."""
        return 4 if component in self.exact else self.float_bytes

    def of(self, component: str) -> Any:
        """Return torch's type for a component."""
        import torch

        return torch.float32 if component in self.exact else getattr(torch, self.name)

    def footprint(self, folder: ModelFolder) -> Footprint:
        """Return what a model takes in this precision."""
        each: dict[str, int] = {name: self.bytes_of(name) for name in folder.components}
        if folder.quantization is not None:
            each |= {name: QUANTIZED_BYTES for name in NETWORKS if name in each}
        return footprint(folder.tensors, float_bytes=each)


def precisions(device: str, folder: ModelFolder, family: Family) -> tuple[Precision, ...]:
    """Return the precisions for a model on a device, the best first; the later ones take less memory.

    A processor is as fast in float32, and others are exact enough with the type that a model was trained in.
    """
    if device.startswith("cuda"):
        import torch

        # Older GPUs compute it in many steps, which PyTorch calls support as well.
        brain = torch.cuda.is_bf16_supported(including_emulation=False) and stored_float(folder.tensors) != "F16"
        half = "bfloat16" if brain else "float16"
        exact = tuple(name for name in family.exact_components if name in folder.components)
        return (Precision(half, exact), Precision(half)) if exact else (Precision(half),)
    if device.startswith("mps"):
        return (Precision("float16"),)
    if device.startswith("xpu"):
        return (Precision("bfloat16"),)
    return (Precision("float32"), Precision("bfloat16"))
