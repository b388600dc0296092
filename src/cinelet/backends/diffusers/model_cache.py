"""Keeps pipelines loaded, as many as there is memory for; the one used longest ago makes room for another."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cinelet.backends.diffusers import devices
from cinelet.backends.diffusers.families import family_of
from cinelet.backends.diffusers.layer_offload import LEAST_RESERVE_BYTES, give_back
from cinelet.backends.diffusers.loading import load
from cinelet.backends.diffusers.model_folder import INDEX_NAME, ModelFolder
from cinelet.backends.diffusers.placement import Offload, Placement, choose, refusal, tile
from cinelet.backends.diffusers.precision import Precision, precisions
from cinelet.backends.diffusers.tensors import Footprint, Unread, footprint
from cinelet.backends.diffusers.working_memory import Working
from cinelet.domain.condition import Condition, Device, LoadedModel
from cinelet.observability import metrics
from cinelet.observability.logs import get_logger

RESERVED_SHARE = 0.05
"""Of a device's memory, left to others and to what no estimate knows."""
_SHARED = ("text_encoder", "image_encoder", "vae", "vqvae")
"""Names, or how they begin, of components that no run changes, so that models with the same files can share them."""
_logger = get_logger(__name__)

Work = Callable[[Precision], Working]
"""What a run needs beside the weights."""


def no_work(_: Precision) -> Working:
    """Return the needs of a model that is only loaded."""
    return Working(0, 0, 0)


@dataclass(slots=True, eq=False)
class Loaded:
    """A pipeline that is ready to run. leases: how many use it now."""

    key: str
    folder: ModelFolder
    pipeline: Any
    placement: Placement
    precision: Precision
    footprint: Footprint
    parts: Mapping[str, str]
    """What the files of its shared components are, by the components' names."""
    leases: int = 0
    peaks: dict[Any, int] = field(default_factory=dict)
    """Bytes beside the weights that runs were measured to need at most, by what they were like."""


class ModelCache:
    """The pipelines of one device. For any thread.

    limit_bytes: most that the weights of all may take; None for what is free, less a reserve. free_bytes: returns what
    a device has left, by its name.
    """

    def __init__(
        self,
        *,
        device: str | None,
        limit_bytes: int | None = None,
        free_bytes: Callable[[str], int] = devices.free_bytes,
    ) -> None:
        self._wanted_device = device
        self._limit_bytes = limit_bytes
        self._free_bytes = free_bytes
        self._device: str | None = None
        """The one that was chosen, when torch had been loaded."""
        self._lock = threading.RLock()
        self._models: OrderedDict[str, Loaded] = OrderedDict()
        self._lowest: dict[str, Placement] = {}
        """Where memory was out with a better placement."""
        self.on_drop: Callable[[Any], None] | None = None
        """Is told of each pipeline that goes."""
        self._told: tuple[LoadedModel, ...] = ()
        """What is told of the pipelines; replaced and never changed, as other threads read it without the lock."""

    @property
    def device(self) -> str:
        """The device that models run on."""
        if self._device is None:
            self._device = devices.choose_device(self._wanted_device)
        return self._device

    @contextmanager
    def lease(self, folder: ModelFolder, work: Work = no_work) -> Iterator[Loaded]:
        """Give the pipeline of a folder, loaded if need be, which stays as long as it is used.

        Raises `ModelUnsupportedError`, or `CapacityError` with the numbers before anything is loaded.
        """
        with self._lock:
            loaded = self._get(folder, work)
            loaded.leases += 1
        try:
            yield loaded
        finally:
            with self._lock:
                loaded.leases -= 1
                if loaded.key not in self._models and not loaded.leases:
                    self._drop(loaded)  # it was to be unloaded meanwhile

    def check_fits(self, reference: str, unread: Unread) -> None:
        """Raise `CapacityError` if weights that are still elsewhere can never fit, whatever makes room for them."""
        with self._lock:
            held = sum(loaded.footprint.total for loaded in self._models.values())
            room = devices.host_free_bytes() if self._offloads else self._free_bytes(self.device)
            most = room + held if self._limit_bytes is None or self._offloads else min(room + held, self._limit_bytes)
        # In two bytes a number they take as much as their files, or less.
        if unread.size_bytes > most:
            weights = footprint(unread.tensors(), float_bytes=2)
            if weights.total > most:
                raise refusal(
                    reference, weights, device=self.device, room=most, host_room=most if self._offloads else None
                )

    def step_down(self, loaded: Loaded) -> Placement | None:
        """Return a placement of less memory that the model has from its next lease on, or None if there is none."""
        with self._lock:
            below = loaded.placement.below(offloads=self._offloads)
            if below is not None and below.tiled and not tile(loaded.pipeline, tiled=True):
                below = below.below(offloads=self._offloads)  # it cannot decode in tiles
            if below is not None:
                self._lowest[loaded.key] = below
            return below

    def unload(self, *references: str) -> bool:
        """Forget the idle pipelines of a model; returns whether one was loaded. One that is busy goes after its run.

        references: all that the model may be called, as who loaded it may have named it otherwise.
        """
        with self._lock:
            found = [loaded for loaded in self._models.values() if loaded.folder.reference in references]
            for loaded in found:
                self._drop(loaded)
            return bool(found)

    def clear(self) -> None:
        """Forget all pipelines and give their memory back."""
        with self._lock:
            if not self._models:
                return
            for loaded in list(self._models.values()):
                self._forget(loaded)
            give_back()

    def condition(self) -> Condition:
        """Return what is loaded, and the device with its memory; from any thread."""
        if self._device is None:
            return Condition(Device(self._wanted_device))
        return Condition(devices.device_now(self._device), self._told)

    def facts_of(self, loaded: Loaded) -> LoadedModel:
        """Return what is told of a pipeline that is loaded."""
        return LoadedModel(
            loaded.folder.reference,
            self.device,
            revision=loaded.folder.revision,
            bytes=devices.bytes_of(*loaded.pipeline.components.values()),
            estimated_bytes=loaded.footprint.total,
            placement=f"{loaded.precision.name}, {loaded.placement.words}",
        )

    def room(self) -> int:
        """Return how many bytes a run may use now beside what is loaded."""
        reserve = max(LEAST_RESERVE_BYTES, int(devices.total_bytes(self.device) * RESERVED_SHARE))
        return max(0, self._free_bytes(self.device) - reserve)

    @property
    def _offloads(self) -> bool:
        return not self.device.startswith(("cpu", "mps"))  # which compute in the machine's own memory

    def _get(self, folder: ModelFolder, work: Work) -> Loaded:
        key = _key(folder)
        loaded = self._models.get(key)
        if loaded is not None:
            self._models.move_to_end(key)
            needed = work(loaded.precision)
            self._make_room(lambda: Footprint({}), needed, besides=loaded)
            room, left, host_room = self._room_of(loaded), self._weights_room(loaded), self._host_room(loaded)
            placement = self._at_most(
                key, choose(loaded.footprint, needed, room=room, weights_room=left, host_room=host_room)
            )
            if placement.offload <= loaded.placement.offload:
                # It could be brought nearer only by loading it again, which takes longer than it saves.
                loaded.placement = Placement(loaded.placement.offload, tiled=placement.tiled)
                tile(loaded.pipeline, tiled=placement.tiled)
                return loaded
            self._drop(loaded)
        return self._load(folder, key, work)

    def _load(self, folder: ModelFolder, key: str, work: Work) -> Loaded:
        precision, weights, placement = self._choose(folder, key, work)
        parts = _parts(folder, precision) if placement.offload is Offload.NONE else {}
        pipeline = load(
            folder, device=self.device, precision=precision, placement=placement, shared=self._shared(parts)
        )
        loaded = Loaded(key, folder, pipeline, placement, precision, weights, parts)
        self._models[key] = loaded
        self._tell()
        metrics.model_loaded(folder.reference)
        _logger.info(
            "Loaded a model",
            extra={"model": folder.reference, "bytes": weights.total, "placement": placement.words},
        )
        return loaded

    def _choose(self, folder: ModelFolder, key: str, work: Work) -> tuple[Precision, Footprint, Placement]:
        """Make room for a model, and return how it is to be loaded; raises `CapacityError` where nothing helps."""
        *better, last = precisions(self.device, folder, family_of(folder.class_name))
        for precision in (*better, last):
            weights, needed = precision.footprint(folder), work(precision)
            self._make_room(lambda: self._missing(weights, folder, precision), needed)  # noqa: B023  (called at once)
            left, host_room = self._weights_room(), self._host_room()
            missing = self._missing(weights, folder, precision)
            room = self.room()
            chosen = choose(missing, needed, room=room, weights_room=left, host_room=host_room)
            if chosen is None or chosen.offload is not Offload.NONE:  # which shares nothing
                chosen = choose(weights, needed, room=room, weights_room=left, host_room=host_room)
            if chosen is not None and (precision is last or chosen.offload is Offload.NONE):
                return precision, weights, self._at_most(key, chosen)
        weights, left, host_room = last.footprint(folder), self._weights_room(), self._host_room()
        raise refusal(folder.reference, weights, device=self.device, room=left, host_room=host_room)

    def _missing(self, weights: Footprint, folder: ModelFolder, precision: Precision) -> Footprint:
        """Return what is to be loaded of a model: without what others have loaded from the same files."""
        there = self._shared(_parts(folder, precision))
        return Footprint({name: size for name, size in weights.components.items() if name not in there})

    def _make_room(self, weights: Callable[[], Footprint], working: Working, *, besides: Loaded | None = None) -> None:
        """Forget idle pipelines, the one used longest ago first, until a model fits or none is left."""
        for loaded in list(self._models.values()):
            missing = weights().total
            if self._weights_room() >= missing and self.room() >= missing + max(working.denoise, working.decode):
                return
            if not loaded.leases and loaded is not besides:
                metrics.model_evicted(loaded.folder.reference)
                _logger.info("Forgetting a model", extra={"model": loaded.folder.reference})
                self._drop(loaded)

    def _room_of(self, loaded: Loaded | None) -> int:
        """Return how many bytes of the device a model may use, its own weights that lie there already among them."""
        return self.room() + (0 if loaded is None else loaded.placement.held_bytes(loaded.footprint))

    def _weights_room(self, loaded: Loaded | None = None) -> int:
        """Return how many bytes the weights of another model may take, or of one that is loaded."""
        room = self._room_of(loaded)
        if self._limit_bytes is None:
            return room
        own = 0 if loaded is None else loaded.footprint.total
        return min(room, max(0, self._limit_bytes - self._weights_held() + own))

    def _weights_held(self) -> int:
        """Sum what the weights of all pipelines take; a component that several share counts once."""
        sizes: dict[object, int] = {}
        for loaded in self._models.values():
            for name, size in loaded.footprint.components.items():
                sizes[loaded.parts.get(name, (loaded.key, name))] = size
        return sum(sizes.values())

    def _host_room(self, loaded: Loaded | None = None) -> int | None:
        """Return how many bytes of the machine's memory a model may take, its own that lie there already among them."""
        if not self._offloads:
            return None
        room = max(0, devices.host_free_bytes() - LEAST_RESERVE_BYTES)
        return room if loaded is None or loaded.placement.offload is Offload.NONE else room + loaded.footprint.total

    def _at_most(self, key: str, placement: Placement | None) -> Placement:
        """Return a placement, or the lower one that the model was brought to before."""
        lowest = self._lowest.get(key, Placement())
        if placement is None:
            return lowest
        return Placement(max(placement.offload, lowest.offload), tiled=placement.tiled or lowest.tiled)

    def _shared(self, parts: Mapping[str, str]) -> dict[str, Any]:
        """Return the components that others have loaded from the same files."""
        found = {}
        for name, files in parts.items():
            for loaded in self._models.values():
                of = next((other for other, known in loaded.parts.items() if known == files), None)
                if of is not None:
                    found[name] = loaded.pipeline.components[of]
        return found

    def _drop(self, loaded: Loaded) -> None:
        self._forget(loaded)
        if not loaded.leases:
            give_back()

    def _forget(self, loaded: Loaded) -> None:
        self._models.pop(loaded.key, None)
        self._tell()
        if not loaded.leases:
            if self.on_drop is not None:
                self.on_drop(loaded.pipeline)
            loaded.pipeline = None

    def _tell(self) -> None:
        self._told = tuple(map(self.facts_of, self._models.values()))


def _key(folder: ModelFolder) -> str:
    """Name a folder in the state that it is in."""
    return f"{folder.path.resolve()}@{(folder.path / INDEX_NAME).stat().st_mtime_ns}+{folder.quantization}"


def _parts(folder: ModelFolder, precision: Precision) -> dict[str, str]:
    """Name the files of each component that may be shared: another model's have the same name if they are the same."""
    found = {}
    for name, (_, class_name) in folder.components.items():
        files = folder.weights(name)
        if name.startswith(_SHARED) and files:
            facts = [class_name, str(precision.of(name)), repr(sorted(folder.config(name).items(), key=str))]
            found[name] = hashlib.sha256("\0".join([*facts, *map(_content_of, files)]).encode()).hexdigest()
    return found


def _content_of(file: Path) -> str:
    """Name the content of a file: the Hub's cache names files after it, others are where they are."""
    target = file.resolve()
    if target.parent.name == "blobs":
        return target.name
    facts = target.stat()
    return f"{target}:{facts.st_size}:{facts.st_mtime_ns}"
