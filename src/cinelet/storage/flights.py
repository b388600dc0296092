"""Identical work in flight is done once, and everybody who waits for it gets a video of their own."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cinelet.clock import Clock, SystemClock
from cinelet.domain.backend import Context, Handle
from cinelet.domain.progress import Progress
from cinelet.domain.video import CacheUse, VideoResult
from cinelet.storage.work_folder import make_work_folder

_LAST_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Answer:
    """A result, and where it came from: the cache, the same request of somebody else, or a model."""

    result: VideoResult
    how: CacheUse


Work = Callable[[Context], Awaitable[Answer]]


class _FlightContext(Context):
    """The work's context: its deadline is the latest of those who wait now, so that policies can share out the time."""

    waiting: Sequence[Context] = ()

    def remaining_seconds(self) -> float | None:
        """Return the longest time that somebody waits, or less within a shorter deadline of the work's own."""
        own = super().remaining_seconds()
        theirs = [context.remaining_seconds() for context in tuple(self.waiting)]
        bounds = [] if own is None else [own]
        if theirs and None not in theirs:
            # Never 0: who waits says that the time is over, and the last one to leave cancels the work.
            bounds.append(max(_LAST_SECONDS, *(seconds for seconds in theirs if seconds is not None)))
        return min(bounds, default=None)


@dataclass(slots=True, eq=False)
class _Flight:
    """Work that one or more wait for."""

    folder: Path
    waiting: list[Context] = field(default_factory=list)
    handed_over: bool = False
    """Whether somebody who waited goes on in another process, with the same handle."""
    context: _FlightContext = field(init=False)
    task: asyncio.Task[Answer] = field(init=False)

    def report(self, progress: Progress) -> None:
        for context in tuple(self.waiting):
            _forward(progress, context)

    async def save_handle(self, handle: Handle | None) -> None:
        # Whoever goes on after a crash can ask for the same job.
        for context in tuple(self.waiting):
            await context.save_handle(handle)


class Flights:
    """The work in flight of this process.

    The work has a context of its own, with the latest deadline of all who wait. Each leaves at their own deadline or
    cancel, and when nobody waits any more the work is cancelled. What it raises, it raises for all who wait.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._flights: dict[Hashable, _Flight] = {}

    async def join(self, key: Hashable, work: Work, context: Context) -> Answer:
        """Wait for the work under this key, begun here unless it is in flight; the file comes to `context.folder`."""
        context.check()
        key = (asyncio.get_running_loop(), key)  # A task belongs to its loop; a program may have several.
        flight = self._flights.get(key)
        leads = flight is None
        if flight is None:
            flight = self._begin(key, work, context)
        flight.waiting.append(context)
        try:
            if not leads:
                await self._catch_up(flight, context)
            answer = await self._ended(flight, context)
            result = await self._taken(answer.result, flight, context)
        finally:
            await self._leave(key, flight, context)
        return Answer(result, answer.how if leads or answer.how == "hit" else "joined")

    def _begin(self, key: Hashable, work: Work, context: Context) -> _Flight:
        flight = _Flight(make_work_folder())
        flight.context = _FlightContext(
            flight.folder,
            on_progress=flight.report,
            on_handle=flight.save_handle,
            handle=context.handle,
            previews=context.previews,
        )
        flight.context.waiting = flight.waiting

        async def fly() -> Answer:
            try:
                return await work(flight.context)
            finally:
                self._forget(key, flight)

        flight.task = asyncio.create_task(fly(), name="cinelet-flight")
        self._flights[key] = flight
        return flight

    async def _catch_up(self, flight: _Flight, context: Context) -> None:
        if flight.context.latest is not None:
            _forward(flight.context.latest, context)
        if flight.context.handle is not None:
            await context.save_handle(flight.context.handle)

    async def _ended(self, flight: _Flight, context: Context) -> Answer:
        watch = asyncio.create_task(self._watch(context))
        try:
            await asyncio.wait({flight.task, watch}, return_when=asyncio.FIRST_COMPLETED)
            return flight.task.result() if flight.task.done() else await watch
        finally:
            if not watch.cancel() and not watch.cancelled():
                watch.exception()  # Raised already, or too late to matter.

    async def _watch(self, context: Context) -> Answer:
        while True:
            await self._clock.pause_async(3600, context=context)

    async def _taken(self, result: VideoResult, flight: _Flight, context: Context) -> VideoResult:
        path = context.folder / result.path.name
        if flight.waiting == [context]:
            await asyncio.to_thread(shutil.move, result.path, path)
        else:
            # Not a link: whoever changes their file in place must not change everybody's.
            await asyncio.to_thread(shutil.copyfile, result.path, path)
        return replace(result, path=path)

    async def _leave(self, key: Hashable, flight: _Flight, context: Context) -> None:
        flight.waiting.remove(context)
        flight.handed_over |= context.handed_over
        if flight.waiting:
            return
        if flight.task.done():
            shutil.rmtree(flight.folder, ignore_errors=True)
            return
        self._forget(key, flight)
        flight.task.add_done_callback(lambda task: _clean_up(task, flight.folder))
        if flight.handed_over:
            flight.context.hand_over()
        else:
            flight.context.cancel()
        flight.task.cancel()
        # The work may tell its provider to stop; a second cancel of ours lets it do so alone.
        await asyncio.wait({flight.task})

    def _forget(self, key: Hashable, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


def _forward(progress: Progress, context: Context) -> None:
    if progress.preview is not None and context.previews:
        context.show(progress.preview)
    context.report(
        progress.stage,
        progress.fraction,
        step=progress.step,
        steps=progress.steps,
        measured=progress.measured,
        note=progress.note,
    )


def _clean_up(task: asyncio.Task[Answer], folder: Path) -> None:
    if not task.cancelled():
        task.exception()  # Nobody is left who could hear of it.
    shutil.rmtree(folder, ignore_errors=True)
