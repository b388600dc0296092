"""The only place that waits: a clock, its cancellable pause, and a fake of both.

A deadline is the `Context`'s own; a pause takes the context, so that no wait outlives it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from cinelet.domain.backend import Context, GeneratedVideo

CANCEL_POLL_SECONDS = 0.05
"""How late a thread that waits notices a cancel; an event loop is told at once."""
CANCEL_AGAIN_SECONDS = 0.5
DEADLINE_POLL_SECONDS = 1.0
"""How often an event loop asks for the deadline: a context's clock need not be the loop's own."""

_Result = TypeVar("_Result")


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
        if context is None:
            await asyncio.sleep(seconds)
            return
        end = time.monotonic() + seconds
        with _stop_of(context) as stopped:
            while (rest := end - time.monotonic()) > 0:
                context.check()
                await asyncio.wait({stopped}, timeout=_until_deadline(min(rest, DEADLINE_POLL_SECONDS), context))
        context.check()


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


def _until_deadline(seconds: float, context: Context) -> float:
    remaining = context.remaining_seconds()
    return seconds if remaining is None else min(seconds, remaining)


@contextmanager
def _stop_of(context: Context) -> Iterator[asyncio.Future[None]]:
    """Give a future that is done as soon as the context is cancelled, from whatever thread."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()

    def stop() -> None:
        if not stopped.done():
            stopped.set_result(None)

    def tell() -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(stop)

    take_back = context.on_cancel(tell)
    try:
        yield stopped
    finally:
        take_back()


async def watched(work: Awaitable[_Result], *, context: Context) -> _Result:
    """Return what `work` does; cancel it, and raise what `context.check()` raises, as soon as that does."""
    task: asyncio.Future[_Result] = asyncio.ensure_future(work)
    try:
        with _stop_of(context) as stopped:
            either: set[asyncio.Future[Any]] = {task, stopped}
            while not task.done():
                context.check()
                slice_seconds = _until_deadline(DEADLINE_POLL_SECONDS, context)
                await asyncio.wait(either, timeout=slice_seconds, return_when=asyncio.FIRST_COMPLETED)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def cancel_task(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: one cancel may be lost where it meets what the task was waiting for.

    That is so in `asyncio.wait_for` of Python 3.11, with which pools of connections wait.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_AGAIN_SECONDS)


async def in_thread_to_the_end(work: Callable[[], object], *, undo: Callable[[], object] | None = None) -> None:
    """Run blocking work in a thread. A cancel waits for its end, and undoes it: a thread cannot be stopped half-way."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if undo is not None and task.exception() is None:
            await asyncio.to_thread(undo)
        raise


async def until_ended(work: asyncio.Future[_Result], context: Context) -> _Result:
    """Wait for work in a thread. A cancel of the waiting task cancels the context and waits for the end."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        context.cancel()
        (ended,) = await asyncio.gather(work, return_exceptions=True)
        if isinstance(ended, GeneratedVideo):
            # It was done just before it was told to stop, and nobody will ask for the file.
            ended.path.unlink(missing_ok=True)
        raise
