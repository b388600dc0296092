"""The workers beside the service: processes of their own, started again when they die."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Self

from cinelet.clock import Clock, SystemClock
from cinelet.observability.logs import get_logger
from cinelet.observability.metrics_link import MetricsLink

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0
GOOD_SECONDS = 30.0
"""Whoever lived so long was well, and is not punished for what others did before."""
REFUSED = 2
"""How a worker ends that cannot do what its command says, such as with a device that is not there."""
STOP_SECONDS = 25.0
"""What a worker gets to hand over, before it is killed."""
_logger = get_logger(__name__)


class Supervisor:
    """Keeps processes running while it is entered; afterwards none is left. commands: by name."""

    def __init__(self, commands: Mapping[str, Sequence[str]], *, clock: Clock | None = None) -> None:
        self._commands = dict(commands)
        self._clock: Clock = clock or SystemClock()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.running: dict[str, asyncio.subprocess.Process] = {}
        self.links: dict[str, MetricsLink | None] = dict.fromkeys(self._commands)
        """How each is asked for its metrics; None for one that does not run now."""
        self.refusing: asyncio.Queue[str] = asyncio.Queue()
        """Names of those that refused at their very first start: it would do no good to start them again."""

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._kept(name, words)) for name, words in self._commands.items()]
        return self

    async def __aexit__(self, *exception: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.stop()
        await asyncio.gather(*(_ended(process) for process in self.running.values()))

    def stop(self) -> None:
        """Tell every process to stop, and start none any more; they have time until this is left."""
        if not self._stopping:
            self._stopping = True
            for process in self.running.values():
                _tell_to_stop(process)

    async def _kept(self, name: str, words: Sequence[str]) -> None:
        pause: float | None = None
        while not self._stopping:
            began = self._clock.monotonic()
            self.links[name] = link = MetricsLink()
            try:
                code = await self._run(name, [*words, "--metrics-fd", str(link.other)], link)
            finally:
                self.links[name] = None
                await link.aclose()
            if self._stopping:
                return
            if code == REFUSED and pause is None:
                self.refusing.put_nowait(name)
                return
            if pause is None or self._clock.monotonic() - began > GOOD_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            _logger.warning("A worker has ended", extra={"worker": name, "status": code, "again_in_seconds": pause})
            await self._clock.pause_async(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    async def _run(self, name: str, words: Sequence[str], link: MetricsLink) -> int:
        # A group of its own: Ctrl-C in a terminal is for the service, which then stops its workers in order.
        process = await asyncio.create_subprocess_exec(*words, start_new_session=True, pass_fds=[link.other])
        link.given()
        self.running[name] = process
        if self._stopping:
            _tell_to_stop(process)
        return await process.wait()


def _tell_to_stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def worker_commands(queues: Sequence[str], *, devices: Sequence[str | None]) -> dict[str, list[str]]:
    """Return the command of a worker for each queue, and for each device of the local one; it ends with this process.

    devices: None for the one that the worker finds.
    """
    first, last = [sys.executable, "-m", "cinelet", "worker", "--queues"], ["--parent", str(os.getpid())]
    commands = {}
    for queue in queues:
        for device in devices if queue == "local" else [None]:
            chosen = [] if device is None else ["--device", device]
            commands[" ".join([queue, *chosen[1:]])] = [*first, queue, *last, *chosen]
    return commands
