"""Where the weights of a model lie while it runs: all on the device, or brought there in parts, so that it fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, assert_never

from cinelet.backends.diffusers.tensors import Footprint
from cinelet.backends.diffusers.working_memory import Working
from cinelet.domain.amount import amount
from cinelet.domain.errors import CapacityError

_GROUPS = 8
"""Group offload keeps less than this part of a component on the device: some layers, and the next ones on their way."""


class Offload(IntEnum):
    """What waits in the machine's memory, the fastest first."""

    NONE = 0
    MODEL = 1
    """Components that do not work just now."""
    GROUP = 2
    """Layers that do not work just now; the next ones are brought while some work."""
    SEQUENTIAL = 3
    """Layers that do not work just now, without bringing any ahead."""

    @property
    def words(self) -> str:
        """The name as it is reported."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Placement:
    """offload: what waits outside of the device. tiled: whether pictures are decoded in tiles, one after another."""

    offload: Offload = Offload.NONE
    tiled: bool = False

    def below(self, *, offloads: bool) -> Placement | None:
        """Return the next placement that needs less memory, or None. offloads: whether the device is not the host."""
        if not self.tiled:
            return replace(self, tiled=True)
        if not offloads or self.offload is Offload.SEQUENTIAL:
            return None
        return replace(self, offload=Offload(self.offload + 1))

    @property
    def words(self) -> str:
        """What a person reads of it."""
        tiles = "decoded in tiles" if self.tiled else "decoded in one piece"
        return f"{'no' if self.offload is Offload.NONE else self.offload.words} offload, {tiles}"


def choose(
    weights: Footprint, working: Working, *, room: int, weights_room: int, host_room: int | None
) -> Placement | None:
    """Return the fastest placement that fits into `room` bytes of the device, or None where none does.

    weights_room: bytes of that for weights. host_room: of the machine's memory where the device has its own, else None.
    The estimate of what a run needs is rough, so a model whose weights fit is not refused for it.
    """
    busy = weights.total + working.denoise
    if weights.total <= weights_room:
        if max(busy, weights.total + working.decode) <= room:
            return Placement()
        if max(busy, weights.total + working.decode_tiled) <= room:
            return Placement(tiled=True)
    if host_room is None:
        return Placement(tiled=True) if weights.total <= min(room, weights_room) else None
    if weights.total > host_room:
        return None
    decoder = next((size for name, size in weights.components.items() if name in {"vae", "vqvae"}), 0)
    needed = max(weights.largest + working.denoise, decoder + min(working.decode, working.decode_tiled))
    if weights.largest <= weights_room and needed <= room:
        return Placement(Offload.MODEL, tiled=decoder + working.decode > room)
    if weights.largest // _GROUPS + working.denoise <= room:
        return Placement(Offload.GROUP, tiled=True)
    return Placement(Offload.SEQUENTIAL, tiled=True)


def refusal(reference: str, weights: Footprint, *, device: str, room: int, host_room: int | None) -> CapacityError:
    """Return the error for a model that no placement makes fit, with the numbers."""
    where = device if host_room is None else f"{device} and the machine's memory"
    left = room if host_room is None else host_room
    message = f"{reference} needs {amount(weights.total)} for its weights, and {where} has {amount(left)} for it"
    return CapacityError(f"{message}; use a smaller model, a larger device, or raise CINELET_MODEL_MEMORY if it is set")


def place(pipeline: Any, placement: Placement, *, device: str) -> None:
    """Bring a freshly loaded pipeline into a placement."""
    import torch

    match placement.offload:
        case Offload.NONE:
            pipeline.to(device)
        case Offload.MODEL:
            pipeline.enable_model_cpu_offload(device=device)
        case Offload.GROUP | Offload.SEQUENTIAL:
            # Not accelerate's sequential offload: it fails on layers that two modules of transformers' T5 share.
            ahead = placement.offload is Offload.GROUP and device.startswith("cuda")
            pipeline.enable_group_offload(
                onload_device=torch.device(device),
                offload_device=torch.device("cpu"),
                offload_type="leaf_level",
                use_stream=ahead,
                non_blocking=ahead,
                low_cpu_mem_usage=ahead,
            )
        case _:
            assert_never(placement.offload)
    tile(pipeline, tiled=placement.tiled)


_ONLY_TILED = frozenset({"AutoencoderKLAllegro"})
"""Autoencoders that diffusers has no other way for."""


def tile(pipeline: Any, *, tiled: bool) -> bool:
    """Decode in tiles, and pictures one after another, or in one piece; returns whether it can."""
    vae = getattr(pipeline, "vae", None) or getattr(pipeline, "vqvae", None)
    tiled = tiled or type(vae).__name__ in _ONLY_TILED
    able = False
    for what in ("tiling", "slicing"):
        change = getattr(vae, f"{'enable' if tiled else 'disable'}_{what}", None)
        try:
            if change is not None:
                change()
                able = True
        except NotImplementedError:  # diffusers gives all autoencoders the method, and some nothing to do
            continue
    return able or not tiled
