"""An answer that somebody else gives, for whom nobody waits long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

PATIENCE_SECONDS = 0.4
"""Two of them, one after the other, leave time for a scrape to end within a second."""
_Answer = TypeVar("_Answer")


class Reading(Generic[_Answer]):
    """Asks again when the last answer is older than `fresh_seconds`, and never twice at once.

    ask: may raise `expected`, which is no answer, and may hang: later askers then wait for the same answer.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[_Answer]],
        *,
        expected: tuple[type[Exception], ...],
        fresh_seconds: float = 0.0,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._ask = ask
        self._expected = expected
        self._fresh_seconds = fresh_seconds
        self._patience_seconds = patience_seconds
        self._asking: asyncio.Task[_Answer | None] | None = None
        self._fresh_until = 0.0

    async def now(self) -> _Answer | None:
        """Return the answer, or None where there is none in time."""
        asking = self._asking
        if asking is None or (asking.done() and time.monotonic() >= self._fresh_until):
            self._asking = asking = asyncio.create_task(self._asked(), name="reading")
        # Without a cancel: to break off a question to a database that hangs takes long as well.
        await asyncio.wait({asking}, timeout=self._patience_seconds)
        return asking.result() if asking.done() and not asking.cancelled() else None

    async def end(self) -> None:
        """Break off what is asked now."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _asked(self) -> _Answer | None:
        try:
            answer = await self._ask()
        except self._expected:
            return None
        self._fresh_until = time.monotonic() + self._fresh_seconds
        return answer
