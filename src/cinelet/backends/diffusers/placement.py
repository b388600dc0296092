"""Where the weights of a model lie while it runs: all on the device, or brought there in parts, so that it fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, assert_never

from cinelet.backends.diffusers.layer_offload import bring_by_layers, has_streams
from cinelet.backends.diffusers.tensors import Footprint
from cinelet.backends.diffusers.working_memory import Working
from cinelet.domain.amount import amount
from cinelet.domain.errors import CapacityError

_GROUPS = 8
"""Group offload needs no more than this part of a component on the device, but for layers that are larger: those that
work, and those on their way. Where there is more room, more are on their way."""


class Offload(IntEnum):
    """What waits in the machine's memory, the fastest first."""

    NONE = 0
    MODEL = 1
    """Components that do not work just now."""
    GROUP = 2
    """Layers that do not work just now, but for those of autoencoders; the next ones are brought while some work."""
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

    def held_bytes(self, weights: Footprint) -> int:
        """Return what of the weights lies on the device all the time."""
        match self.offload:
            case Offload.NONE:
                return weights.total
            case Offload.GROUP:
                return _autoencoders(weights)
            case Offload.MODEL | Offload.SEQUENTIAL:
                return 0
            case _:
                assert_never(self.offload)

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
    decoder, decode = _autoencoders(weights), min(working.decode, working.decode_tiled)
    needed = max(weights.largest + working.denoise, decoder + decode)
    if weights.largest <= weights_room and needed <= room:
        return Placement(Offload.MODEL, tiled=decoder + working.decode > room)
    brought = _most_brought(weights)
    if decoder + brought <= weights_room and decoder + max(brought + working.denoise, decode) <= room:
        return Placement(Offload.GROUP, tiled=True)
    return Placement(Offload.SEQUENTIAL, tiled=True)


def _is_autoencoder(component: str) -> bool:
    return component.endswith("vae")  # "vqvae" and "audio_vae" among them


def _autoencoders(weights: Footprint) -> int:
    return sum(size for name, size in weights.components.items() if _is_autoencoder(name))


def _most_brought(weights: Footprint) -> int:
    """Return how many bytes group offload has on the device beside what it holds there."""
    return max(
        (
            max(size // _GROUPS, weights.largest_layers.get(name, 0))
            for name, size in weights.components.items()
            if not _is_autoencoder(name)
        ),
        default=0,
    )


def refusal(reference: str, weights: Footprint, *, device: str, room: int, host_room: int | None) -> CapacityError:
    """Return the error for a model that no placement makes fit, with the numbers."""
    where = device if host_room is None else f"{device} and the machine's memory"
    left = room if host_room is None else host_room
    message = f"{reference} needs {amount(weights.total)} for its weights, and {where} has {amount(left)} for it"
    return CapacityError(f"{message}; use a smaller model, a larger device, or raise CINELET_MODEL_MEMORY if it is set")


def place(pipeline: Any, placement: Placement, *, device: str) -> None:
    """Bring a freshly loaded pipeline into a placement."""
    match placement.offload:
        case Offload.NONE:
            pipeline.to(device)
        case Offload.MODEL:
            pipeline.enable_model_cpu_offload(device=device)
        case Offload.GROUP:
            # Autoencoders stay whole on the device. Pipelines call their `decode`, of which diffusers does not learn in
            # which order layers work: none would be brought ahead, and each tile of each frame would bring all anew.
            whole = [name for name in pipeline.components if _is_autoencoder(name)]
            bring_by_layers(pipeline, device, besides=whole, ahead=has_streams(device))
        case Offload.SEQUENTIAL:
            # Not accelerate's sequential offload: it fails on layers that two modules of transformers' T5 share.
            bring_by_layers(pipeline, device, besides=(), ahead=False)
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
