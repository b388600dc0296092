"""A backend that loads models as it is told by a test, for what stands above backends."""

from __future__ import annotations

import threading
from pathlib import Path

from cinelet.domain.backend import Context, Pulled
from cinelet.domain.condition import Condition, Device, LoadedModel
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Stage
from cinelet.testing import FakeBackend

BYTES = 8_100_000


class LoadingBackend(FakeBackend):
    """load_errors: raised for a model. may_load: cleared to let a load wait. loads: what it was told to load."""

    def __init__(self, load_errors: dict[str, Exception] | None = None) -> None:
        super().__init__()
        self.load_errors = load_errors or {}
        self.may_load = threading.Event()
        self.may_load.set()
        self.loads: list[str] = []
        self.device = Device("cpu")

    async def pull(self, model: ModelReference, context: Context) -> Pulled:
        context.report(Stage.DOWNLOADING, 0.01, step=BYTES, steps=BYTES)
        return Pulled(str(model), Path("models") / model.name, BYTES)

    async def load(self, model: ModelReference, context: Context) -> LoadedModel:
        await self.pull(model, context)
        self.loads.append(str(model))
        while not self.may_load.is_set():
            await self.clock.pause_async(0.01, context=context)
        if str(model) in self.load_errors:
            raise self.load_errors[str(model)]
        loaded = LoadedModel(str(model), "cpu", bytes=BYTES, estimated_bytes=8_000_000, placement="float32, no offload")
        self.told = Condition(self.device, (*self.told.models, loaded))
        return loaded

    async def unload(self, model: ModelReference) -> bool:
        left = tuple(loaded for loaded in self.told.models if loaded.model != str(model))
        was_loaded, self.told = left != self.told.models, Condition(self.device, left)
        return was_loaded
