"""One connection of a process that hears what the database announces, for all in it who want to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cinelet.clock import Clock, cancel_task
from cinelet.domain.errors import CineletError
from cinelet.jobs.database import Database
from cinelet.observability.logs import get_logger

RETRY_SECONDS = 5.0

Hear = Callable[[str, str | None], Awaitable[None]]
"""Is told the channel and the payload; None for the payload where something may have been missed."""
_logger = get_logger(__name__)


class Listener:
    """Listens while `run` runs. PostgreSQL wakes every connection that listens to anything, so one is enough."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._hearers: dict[str, list[Hear]] = {}
        self._changed = asyncio.Event()

    async def hear(self, channels: Sequence[str], hear: Hear) -> None:
        """Pass on what is announced on the channels, until cancelled."""
        for channel in channels:
            self._hearers.setdefault(channel, []).append(hear)
        self._changed.set()
        try:
            await asyncio.Event().wait()
        finally:
            for channel in channels:
                self._hearers[channel].remove(hear)

    async def run(self) -> None:
        """Listen to every channel that somebody hears, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            listening = asyncio.create_task(self._listen(list(self._hearers)))
            changed = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait({listening, changed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
                await cancel_task(listening)

    async def _listen(self, channels: Sequence[str]) -> None:
        while True:
            try:
                async for told in self._database.listen(channels, clock=self._clock):
                    for channel in channels if told is None else told[:1]:
                        for hear in list(self._hearers[channel]):
                            await hear(channel, None if told is None else told[1])
            except CineletError as error:
                _logger.info("The database is not heard now", extra={"code": error.code})
            except Exception:  # whatever it is, a worker that hears nothing any more must not go unnoticed
                _logger.exception("What the database announced could not be passed on")
            await self._clock.pause_async(RETRY_SECONDS)
