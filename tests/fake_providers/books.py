"""What all hosts have on record: who asked for what, the jobs, the models, and what is to go wrong."""

from __future__ import annotations

import functools
import threading
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.types import ASGIApp

from tests.fake_providers.faults import Faults, Stage
from tests.fake_providers.hub import HubModel, default_models
from tests.fake_providers.jobs import Ledger
from tests.fake_providers.traffic import Received
from tests.fake_providers.video import VideoFile


class Books:
    """Written by the hosts' thread, read by the test's."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.crashes: list[Exception] = []
        self.faults = Faults()
        self.ledger = Ledger()
        self.models: dict[str, HubModel] = default_models()
        self.video_bytes: int | None = None
        self.on_request: Callable[[Received], None] | None = None
        self.changed = threading.Condition()

    @functools.cached_property
    def video(self) -> VideoFile:
        """The video that every job makes."""
        return VideoFile(self.video_bytes)

    def tasks(self, provider: str, provider_model: str) -> frozenset[str]:
        """Return what a provider's own model can do; nothing where it does not exist."""
        offers = (model.mapping.get(provider, {}) for model in self.models.values())
        return frozenset(offer["task"] for offer in offers if offer.get("providerId") == provider_model)

    async def answer(
        self, request: Request, stage: Stage, provider: str, right: Callable[[Received], Awaitable[ASGIApp]]
    ) -> ASGIApp:
        """Return the right reply, or the fault that is due in its place."""
        received: Received = request.state.received
        received.stage, received.provider = stage, provider
        if self.on_request is not None:
            self.on_request(received)
        fault = self.faults.take(stage, provider)
        if fault is None:
            return await right(received)
        if fault.accepted or not fault.replaces:
            return fault.around(await right(received))
        return fault.around(_nothing)

    def notify(self) -> None:
        """Wake up whoever waits for something to have happened."""
        with self.changed:
            self.changed.notify_all()


async def _nothing(*_: object) -> None:
    """Stand for the reply that a fault replaces."""
