"""The only place that waits: a clock, its cancellable pause, and a fake of both.

A deadline is the `Context`'s own; a pause takes the context, so that no wait outlives it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from cinelet.domain.backend import Context, GeneratedVideo

CANCEL_POLL_SECONDS = 0.05
"""How late a pause notices a cancel: a context is cancelled from any thread, so it is asked rather than awaited."""


class Clock(Protocol):
    """What tells the time and waits."""

    def monotonic(self) -> float:
        """Return seconds that only grow, from an arbitrary zero."""
        ...

    def pause(self, seconds: float, *, context: Context | None = None) -> None:
        """Block this thread. Raises what `context.check()` raises as soon as it does, at the latest at its deadline."""
        ...

    async def pause_async(self, seconds: float, *, context: Context | None = None) -> None:
        """Wait without blocking the event loop, under the same rules as `pause`."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def pause(self, seconds: float, *, context: Context | None = None) -> None:
        """Block this thread for `seconds`, or until the context says stop."""
        end = time.monotonic() + seconds
        while (slice_seconds := _slice_seconds(end, context)) > 0:
            time.sleep(slice_seconds)

    async def pause_async(self, seconds: float, *, context: Context | None = None) -> None:
        """Wait for `seconds`, or until the context says stop."""
        end = time.monotonic() + seconds
        while (slice_seconds := _slice_seconds(end, context)) > 0:
            await asyncio.sleep(slice_seconds)


class FakeClock:
    """A clock for tests: it stands still until told, and a pause moves it at once."""

    def __init__(self, now_seconds: float = 0.0) -> None:
        self.now_seconds = now_seconds
        self.pauses_seconds: list[float] = []
        """Every pause that was asked for, in order."""

    def monotonic(self) -> float:
        """Return the time that the test has set."""
        return self.now_seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_seconds += seconds

    def pause(self, seconds: float, *, context: Context | None = None) -> None:
        """Move the clock by `seconds`, then check the context."""
        self.pauses_seconds.append(seconds)
        self.advance(seconds)
        if context is not None:
            context.check()

    async def pause_async(self, seconds: float, *, context: Context | None = None) -> None:
        """Do what `pause` does, and let other tasks run."""
        self.pause(seconds, context=context)
        await asyncio.sleep(0)


def _slice_seconds(end: float, context: Context | None) -> float:
    """Return how long to sleep before looking again; 0 or less when the pause is over."""
    rest = end - time.monotonic()
    if context is None:
        return rest
    context.check()
    remaining = context.remaining_seconds()
    return min(rest, CANCEL_POLL_SECONDS) if remaining is None else min(rest, CANCEL_POLL_SECONDS, remaining)


async def until_ended(work: asyncio.Future[GeneratedVideo], context: Context) -> GeneratedVideo:
    """Wait for a generation in a thread. A cancel of the waiting task cancels the context and waits for the end."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        context.cancel()
        (ended,) = await asyncio.gather(work, return_exceptions=True)
        if isinstance(ended, GeneratedVideo):
            # It was done just before it was told to stop, and nobody will ask for the file.
            ended.path.unlink(missing_ok=True)
        raise
