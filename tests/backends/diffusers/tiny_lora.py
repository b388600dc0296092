"""LoRAs of a few kilobytes for tiny models, as trainers write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from cinelet.backends.diffusers.tensor_file import read_tensor_header


def layers_of(model: Path, part: str = "transformer", *, kind: str = "to_q") -> dict[str, tuple[int, ...]]:
    """Return the shapes of some layers of a model's part, by their names."""
    header = read_tensor_header(model / part / "diffusion_pytorch_model.safetensors", max_header_bytes=10_000_000)
    shapes = {name.removesuffix(".weight"): tensor.shape for name, tensor in header.tensors.items()}
    return {name: shape for name, shape in shapes.items() if name.endswith(f".{kind}")}


def write_lora(
    path: Path,
    layers: Mapping[str, tuple[int, ...]],
    *,
    part: str = "transformer",
    seed: int = 0,
    strength: float = 0.5,
    settings: Mapping[str, Any] | None = None,
    **tensors: torch.Tensor,
) -> Path:
    """Write a LoRA of rank 2 for some layers. settings: as diffusers keeps them in the metadata."""
    numbers = torch.Generator().manual_seed(seed)
    weights = dict(tensors)
    for name, (height, width, *_) in layers.items():
        weights[f"{part}.{name}.lora_A.weight"] = torch.randn((2, width), generator=numbers)
        weights[f"{part}.{name}.lora_B.weight"] = torch.randn((height, 2), generator=numbers) * strength
    save_file(weights, path, {"lora_adapter_metadata": json.dumps(settings)} if settings else None)
    return path
