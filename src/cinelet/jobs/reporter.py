"""Passes the progress of a running generation on to the ledger, as much of it as the database should take."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace

from cinelet.clock import Clock
from cinelet.domain.progress import Progress, Stage
from cinelet.jobs.errors import DatabaseError
from cinelet.observability.logs import get_logger

MAX_WRITES = 4
"""In a second. One is kept for a change of stage, which is told at once."""

Write = Callable[[Progress, float | None], Awaitable[None]]
_logger = get_logger(__name__)


class Reporter:
    """Takes reports from any thread; `run` writes the latest one, at most `MAX_WRITES` times in any second."""

    def __init__(self, write: Write, *, clock: Clock) -> None:
        self._write = write
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._pending: deque[Progress] = deque()
        self._news = asyncio.Event()
        self._writes: deque[float] = deque(maxlen=MAX_WRITES)
        self._stage: Stage | None = None
        self._stage_began: tuple[float, int] = (0.0, 0)
        self._written_stage: Stage | None = None
        self.on_first_report: Callable[[], None] | None = None

    def take(self, progress: Progress) -> None:
        """Take a report."""
        call, self.on_first_report = self.on_first_report, None
        if call is not None:
            call()
        self._loop.call_soon_threadsafe(self._taken, progress)

    def _taken(self, progress: Progress) -> None:
        if progress.stage is not self._stage:
            self._stage, self._stage_began = progress.stage, (self._clock.monotonic(), progress.step)
        if self._pending and self._pending[-1].stage is progress.stage:
            # Of a stage only the latest step is worth a word, and each stage is; a picture lasts until the next one.
            replaced = self._pending.pop()
            progress = replace(progress, preview=progress.preview or replaced.preview)
        self._pending.append(progress)
        self._news.set()

    async def run(self) -> None:
        """Write until cancelled. What the database does not take now is replaced by what comes next."""
        while True:
            await self._news.wait()
            while (wait := self._wait_seconds()) > 0:
                await self._clock.pause_async(wait)
            progress = self._pending.popleft()
            if not self._pending:
                self._news.clear()
            self._writes.append(self._clock.monotonic())
            self._written_stage = progress.stage
            try:
                await self._write(progress, self._eta_seconds(progress))
            except DatabaseError as error:
                _logger.info("Progress was not written", extra={"code": error.code})

    def _wait_seconds(self) -> float:
        """Return how long the latest report must wait: until so few writes are within the last second."""
        if not self._writes:
            return 0.0
        now = self._clock.monotonic()
        within_a_second = self._writes[0] + 1.0 - now if len(self._writes) == MAX_WRITES else 0.0
        if self._pending[0].stage is self._written_stage:
            # Steps come at an even distance, and leave room for a change of stage.
            return max(within_a_second, self._writes[-1] + 1 / (MAX_WRITES - 1) - now)
        return within_a_second

    def _eta_seconds(self, progress: Progress) -> float | None:
        """Return the time until the end of the stage by the steps that were measured."""
        began, first = self._stage_began
        done = progress.step - first
        if not progress.measured or done <= 0 or progress.steps <= 0:
            return None
        return (self._clock.monotonic() - began) / done * (progress.steps - progress.step)
