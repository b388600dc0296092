"""What a run needs beside the weights, counted, against what is estimated. A section of `benchmarks/local.py`.

Tensors are counted that have shapes and no content, so that a machine without a GPU tells of sizes beyond its memory.
"""

from __future__ import annotations

import json
import math
import tempfile
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.report import Row

BYTES = 2
"""Of a number: bfloat16."""
_IMAGES: Mapping[str, Any] = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "layers_per_block": 2,
}


@dataclass(frozen=True, slots=True)
class Case:
    """An autoencoder and what it decodes: (width, height), frames. config: what differs from its class's own."""

    cls: str
    size: tuple[int, int]
    frames: int
    config: Mapping[str, Any] = field(default_factory=dict)


WAN22 = {
    "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "dim_mult": [1, 2, 4, 4], "attn_scales": [],
    "temperal_downsample": [False, True, True], "is_residual": True, "in_channels": 12, "out_channels": 12,
    "patch_size": 2, "scale_factor_spatial": 16, "scale_factor_temporal": 4,
    "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48,
}  # fmt: skip
CASES = (
    Case("AutoencoderKLWan", (1280, 704), 33, WAN22),
    Case("AutoencoderKLWan", (640, 352), 17, WAN22),
    Case("AutoencoderKLWan", (832, 480), 33),
    Case("AutoencoderKLLTXVideo", (704, 512), 81),
    Case("AutoencoderKLHunyuanVideo", (544, 320), 61),
    Case("AutoencoderKLHunyuanVideo", (544, 320), 121),
    Case("AutoencoderKLHunyuanVideo15", (544, 320), 61),
    Case(
        "AutoencoderKLCogVideoX",
        (720, 480),
        49,
        {
            "block_out_channels": [128, 256, 256, 512],
            "down_block_types": ["CogVideoXDownBlock3D"] * 4,
            "up_block_types": ["CogVideoXUpBlock3D"] * 4,
            "latent_channels": 16,
        },
    ),
    Case("AutoencoderKLMochi", (848, 480), 37),
    Case("AutoencoderKLTemporalDecoder", (1024, 576), 14, _IMAGES),
    Case("AutoencoderKL", (576, 320), 24, {**_IMAGES, "up_block_types": ["UpDecoderBlock2D"] * 4}),
)


def memory(_: int) -> list[Row]:
    """Count what decoding holds at once, in bfloat16, against the estimate by which a model is placed and tiled.

    The estimate has a quarter more, for what a GPU's libraries take beside tensors.
    """
    return [_row(case) for case in CASES]


def _row(case: Case) -> Row:
    from cinelet.backends.diffusers.model_folder import open_folder
    from cinelet.backends.diffusers.working_memory import working_of

    counted, config = _decoded(case)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "vae").mkdir()
        (folder / "vae" / "config.json").write_text(json.dumps(config))
        index = {"_class_name": "WanPipeline", "vae": ["diffusers", case.cls]}
        (folder / "model_index.json").write_text(json.dumps(index))
        working = working_of(
            open_folder(folder, "model"), size=case.size, frames=case.frames, float_bytes=BYTES, decoder_bytes=BYTES
        )
    return {
        "autoencoder": case.cls,
        "size": f"{case.size[0]}x{case.size[1]}",
        "frames": case.frames,
        "counted GB": counted / 1e9,
        "estimated GB": working.decode / 1e9,
        "of it": working.decode / counted,
        "in tiles GB": working.decode_tiled / 1e9,
    }


def _decoded(case: Case) -> tuple[int, dict[str, Any]]:
    """Return the bytes of tensors that were there at once, and the whole configuration."""
    import diffusers
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from cinelet.backends.diffusers.grid import spatial_ratio, temporal_ratio

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with FakeTensorMode(), torch.no_grad():
            autoencoder = getattr(diffusers, case.cls)(**case.config)
            config = json.loads(json.dumps(dict(autoencoder.config), default=str))
            ratio = spatial_ratio(config)
            width, height = (side // ratio for side in case.size)
            channels = config.get("latent_channels") or config["z_dim"]
            frames = math.ceil((case.frames - 1) / temporal_ratio(config)) + 1
            if case.cls in {"AutoencoderKL", "AutoencoderKLTemporalDecoder"}:
                latents = torch.empty(case.frames, channels, height, width)
            else:
                latents = torch.empty(1, channels, frames, height, width)
            options = {"num_frames": case.frames} if case.cls == "AutoencoderKLTemporalDecoder" else {}
            return _most(lambda: autoencoder.decode(latents, **options)), config
    finally:
        torch.set_default_dtype(before)


def _most(work: Callable[[], Any]) -> int:
    """Return the bytes of the tensors that some work makes and has at once, at most."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_iter

    class Counted(TorchDispatchMode):  # type: ignore[misc]
        now = most = 0

        def __init__(self) -> None:
            super().__init__()
            self.there: set[int] = set()

        def __torch_dispatch__(
            self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
        ) -> Any:
            made = function(*arguments, **(named or {}))
            for tensor in tree_iter(made):
                if isinstance(tensor, torch.Tensor):
                    self.count(tensor.untyped_storage())
            return made

        def count(self, storage: Any) -> None:
            key, size = storage._cdata, storage.nbytes()  # noqa: SLF001  (what two views of a tensor have in common)
            if key not in self.there:
                self.there.add(key)
                weakref.finalize(storage, self.forget, key, size)
                self.now += size
                self.most = max(self.most, self.now)

        def forget(self, key: int, size: int) -> None:
            self.there.discard(key)
            self.now -= size

    counted = Counted()
    with counted:
        work()
    return counted.most
