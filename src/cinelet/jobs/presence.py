"""What a worker tells of itself: with each sweep, and at once where something has changed."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from cinelet.clock import Clock, cancel_task
from cinelet.domain.condition import Condition
from cinelet.domain.errors import CineletError
from cinelet.jobs.database import Database
from cinelet.jobs.roster import Roster, WorkerReport
from cinelet.observability.logs import get_logger

LEAST_SECONDS = 1.0
"""Between what is told at once."""
LOOK_SECONDS = 2.0
"""How long a backend may take to say how it is; a driver that hangs must not keep a worker from its sweep."""
MAX_CIRCUITS = 100
"""Of the report; users name models, so how many there are is theirs to choose."""
_logger = get_logger(__name__)


class Presence:
    """Keeps a worker on the list while it is entered, and takes it off afterwards.

    counts: returns how many generations run now, and how many have ended. look: returns the condition of the service;
    it is called in a thread.
    """

    def __init__(
        self,
        database: Database,
        *,
        name: str,
        queues: Mapping[str, int],
        counts: Callable[[], tuple[int, int]],
        look: Callable[[], Condition],
        clock: Clock,
    ) -> None:
        self.name = name
        self._roster = Roster(database)
        self._queues = dict(queues)
        self._counts = counts
        self._look = look
        self._clock = clock
        self._started_at = time.time()
        self._news = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._condition = Condition()
        self._told: object = None

    async def __aenter__(self) -> Self:
        self._telling = asyncio.create_task(self._tell(), name="presence")
        return self

    async def __aexit__(self, *exception: object) -> None:
        await cancel_task(self._telling)
        # Whoever reads the list leaves out a worker that says nothing any more.
        with suppress(CineletError):
            await self._roster.remove(self.name)

    @property
    def condition(self) -> Condition:
        """What was told last."""
        return self._condition

    def changed(self) -> None:
        """Note that there may be something to tell."""
        self._news.set()

    async def tell(self) -> None:
        """Tell now. Raises `DatabaseError`."""
        await self._roster.write(self.name, await self.report())

    async def report(self) -> WorkerReport:
        """Return what is to be told now; whoever asks tells it."""
        condition = await self._condition_now()
        running, finished = self._counts()
        report = WorkerReport(
            host=platform.node(),
            pid=os.getpid(),
            queues=self._queues,
            running=running,
            finished=finished,
            started_at=self._started_at,
            resident_bytes=_resident_bytes(),
            condition=condition,
        )
        self._told = _essence(report)
        return report

    async def _tell(self) -> None:
        """Tell at once, but not all the time, that more or fewer generations run, or that other models are loaded."""
        while True:
            await self._news.wait()
            self._news.clear()
            before = self._told
            report = await self.report()
            if self._told != before:
                try:
                    await self._roster.write(self.name, report)
                except CineletError as error:  # the next sweep tells it
                    _logger.info("The worker could not report", extra={"code": error.code})
            await self._clock.pause_async(LEAST_SECONDS)

    async def _condition_now(self) -> Condition:
        """Ask the backends how they are; where they do not answer, what they said last."""
        if self._looking is None or self._looking.done():
            # One that does not answer is not asked by yet another thread.
            self._looking = asyncio.create_task(self._look_once(), name="condition")
        await asyncio.wait({self._looking}, timeout=LOOK_SECONDS)
        return self._condition

    async def _look_once(self) -> None:
        try:
            self._condition = _bounded(await asyncio.to_thread(self._look))
        except Exception:  # a plugin's backend is anybody's code, and the sweep must go on
            _logger.exception("A backend could not say how it is")


def _bounded(condition: Condition) -> Condition:
    circuits = sorted(condition.circuits, key=lambda circuit: (circuit.state == "closed", -circuit.failures))
    return replace(condition, circuits=tuple(circuits[:MAX_CIRCUITS]))


def _essence(report: WorkerReport) -> Any:
    """Return what is worth telling at once."""
    circuits = frozenset((circuit.name, circuit.state) for circuit in report.condition.circuits)
    return report.running, report.condition.models, circuits


def _resident_bytes() -> int:
    """Return how much memory this process takes."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no Linux
        import psutil

        return int(psutil.Process().memory_info().rss)
