"""How a worker writes down what must not be lost, while the database or the store is away."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cinelet.clock import Clock
from cinelet.domain.errors import CineletError
from cinelet.jobs.errors import DatabaseUnavailableError
from cinelet.observability.logs import get_logger

PERSIST_SECONDS = 600.0
"""How long it tries."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 5.0

_Result = TypeVar("_Result")
_logger = get_logger(__name__)


class Persistence:
    """Tries again and again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, write: Callable[[], Awaitable[_Result]]) -> _Result:
        """Return what a write does, when it could be done; raises what will not pass."""
        end, pause = time.monotonic() + PERSIST_SECONDS, FIRST_PAUSE_SECONDS
        while True:
            try:
                return await write()
            except CineletError as error:
                may_pass = isinstance(error, DatabaseUnavailableError) or error.code == "storage_failed"
                if not may_pass or time.monotonic() > end:
                    raise
                _logger.warning("Nothing could be written down; trying again", extra={"code": error.code})
            await self._clock.pause_async(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
