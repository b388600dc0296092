"""What a worker for local models does beside generations: it loads and forgets models, as it is told."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cinelet.clock import Clock, cancel_task
from cinelet.domain.backend import Context
from cinelet.domain.errors import CineletError, DeviceLostError, ProcessingError
from cinelet.domain.progress import Progress
from cinelet.jobs.database import Database
from cinelet.jobs.errors import DatabaseError
from cinelet.jobs.listener import Listener
from cinelet.jobs.orders import Order, Orders
from cinelet.jobs.persistence import Persistence
from cinelet.jobs.presence import Presence
from cinelet.jobs.reporter import Reporter
from cinelet.observability.logs import get_logger
from cinelet.service import VideoService

LOOK_SECONDS = 5.0
"""How late an order is found that the database could not announce."""
_logger = get_logger(__name__)


class Loader:
    """Carries out the orders of one worker, one after another. preload: models that are loaded first.

    The device is shared with generations: a load waits until none runs.
    """

    def __init__(
        self,
        database: Database,
        orders: Orders,
        service: VideoService,
        presence: Presence,
        *,
        preload: Sequence[str],
        clock: Clock,
    ) -> None:
        self._database = database
        self._orders = orders
        self._service = service
        self._presence = presence
        self._preload = preload
        self._clock = clock
        self._persisted = Persistence(clock)
        self._news = asyncio.Event()

    async def run(self, listener: Listener) -> None:
        """Do what comes until it is cancelled. Raises `DeviceLostError`."""
        hearing = asyncio.create_task(listener.hear([f"{self._database.schema}_orders"], self._heard), name="orders")
        loading = asyncio.create_task(self._load_ahead(), name="preload")
        try:
            while not (loading.done() and loading.exception()):
                self._news.clear()
                try:
                    await self._do_what_waits()
                except DatabaseError as error:
                    _logger.info("Orders cannot be read now", extra={"code": error.code})
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._news.wait()
        finally:
            await cancel_task(hearing)
            await cancel_task(loading)
        await loading

    async def _load_ahead(self) -> None:
        for model in self._preload:
            began = time.monotonic()
            try:
                await self._service.load(model)
            except DeviceLostError:
                self._news.set()
                raise
            except Exception as error:  # noqa: BLE001  (a plugin's backend is anybody's code; a worker can do without)
                _logger.warning("A model was not loaded ahead", extra={"model": model, "reason": str(error)})
            else:
                facts = {"model": model, "seconds": round(time.monotonic() - began, 3)}
                _logger.info("A model was loaded ahead", extra=facts)
                self._presence.changed()

    async def _do_what_waits(self) -> None:
        await self._orders.settle()
        while (found := await self._orders.next_of(self._presence.name)) is not None:
            order, seconds = found
            result = await self._done(order, seconds)
            with suppress(DatabaseError):
                # Before the order has ended: who asks then what is loaded shall see it.
                await self._presence.tell()
            await self._persisted(lambda: self._orders.end(order, result))  # noqa: B023  (called at once)
            if isinstance(result, DeviceLostError):
                raise result

    async def _done(self, order: Order, seconds: float) -> Mapping[str, Any] | CineletError:
        """Carry out an order; returns what came of it."""

        async def write(progress: Progress, _: float | None) -> None:
            await self._orders.progress(order, progress)

        reporter = Reporter(write, clock=self._clock)
        context = Context(Path(tempfile.gettempdir()), deadline_seconds=seconds, on_progress=reporter.take)
        reporting = asyncio.create_task(reporter.run(), name="order")
        began = time.monotonic()
        try:
            if order.action == "unload":
                return {"unloaded": await self._service.unload(order.model)}
            context.check()
            loaded = await self._service.load(order.model, context)
            return {**asdict(loaded), "seconds": round(time.monotonic() - began, 3)}
        except CineletError as error:
            return error
        except Exception as error:  # the door to backends: whatever it is, the order must come to an end
            _logger.exception("An order failed in a way that nobody foresaw", extra={"order": order.id})
            return ProcessingError(f"The worker failed: {type(error).__name__}; its log says where", "loading")
        finally:
            await cancel_task(reporting)

    async def _heard(self, _channel: str, worker: str | None) -> None:
        if worker in {None, self._presence.name}:
            self._news.set()
