"""A process beside `jobs.py`: a worker, a plain one, or a watcher.

    python benchmarks/jobs_process.py '{"role": "worker", "folder": "/tmp/place", "concurrency": 10}'

Prints "ready" when all is open, begins with the next line, stops at the end of its input, and prints what it measured
as JSON. Times are of the machine's monotonic clock, which all its processes share.

| role | what it does |
|---|---|
| worker | a real `Worker` with a service that makes nothing (`NoWork`) |
| plain | Procrastinate's own worker, at its defaults |
| watcher | watches generations; measures how late it hears of what `NoWork` reports |
| paid | a real `Worker` with the real service and `HuggingFaceBackend` on a fake provider; constants are shortened |
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from cinelet.clock import SystemClock
from cinelet.domain.backend import Context
from cinelet.domain.progress import Stage
from cinelet.domain.request import VideoRequest
from cinelet.domain.result import VideoFacts
from cinelet.domain.video import VideoResult
from cinelet.jobs.durable import DurableJobs, Settings
from cinelet.service import VideoService
from cinelet.storage.blobs import open_store
from cinelet.testing import FakeBackend

AROUND_SECONDS = 0.5
"""How long loading, decoding and encoding take where steps are reported."""


class NoWork(VideoService):
    """Answers each request at once with a file that is there already; nothing is encoded, probed or cached.

    own_files: each answer is a new small file, so that it must be stored. steps: reported before the answer, one each
    `step_seconds`, with the stages around them; the note of a report is when its stage began, and when it was made.
    """

    def __init__(self, folder: Path, *, own_files: bool = False, steps: int = 0, step_seconds: float = 0.0) -> None:
        super().__init__(FakeBackend(), default_models={})
        self.starts: dict[str, float] = {}
        """When each prompt's work began."""
        self._steps = steps
        self._step_seconds = step_seconds
        self._own_files = own_files
        self._file = folder / f"video-{os.getpid()}.mp4"
        self._file.write_bytes(b"always the same bytes")
        self._clock = SystemClock()

    async def generate(self, request: VideoRequest, context: Context | None = None) -> VideoResult:
        """Note the time, report the steps, and answer."""
        assert context is not None  # noqa: S101  (a worker gives one)
        self.starts[str(request.prompt)] = time.monotonic()
        if self._steps:
            await self._report(context)
        path = self._file
        if self._own_files:
            path = context.folder / "video.mp4"
            path.write_bytes(os.urandom(64))
        content = path.read_bytes()
        return VideoResult(
            path=path,
            request=request,
            facts=VideoFacts(
                width=64,
                height=48,
                fps=Fraction(8),
                frames=8,
                duration=1.0,
                codec="h264",
                container="mp4",
                has_audio=False,
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
            ),
            model=str(request.model),
            requested_model=str(request.model),
            seed=7,
            applied={},
            adjustments=(),
            attempts=(),
            timings={},
            generation_time=0.0,
        )

    async def _report(self, context: Context) -> None:
        began: dict[Stage, float] = {}

        def report(stage: Stage, fraction: float, step: int = 0) -> None:
            now = time.monotonic()
            note = f"{began.setdefault(stage, now)} {now}"
            context.report(stage, fraction, step=step, steps=self._steps, note=note)

        report(Stage.LOADING, 0.0)
        await self._clock.pause_async(AROUND_SECONDS)
        for step in range(1, self._steps + 1):
            report(Stage.DENOISING, 0.9 * step / self._steps, step)
            await self._clock.pause_async(self._step_seconds)
        for stage in (Stage.DECODING, Stage.ENCODING):
            report(stage, 0.95)
            await self._clock.pause_async(AROUND_SECONDS)
        report(Stage.STORING, 0.99)


def paid_service(port: int) -> VideoService:
    """Return the real service of one remote model, whose hosts are the fake ones at a port."""
    from random import Random

    from cinelet.backends.huggingface import HuggingFaceBackend
    from cinelet.resilience.budget import RetryBudgets
    from cinelet.resilience.retry import RetryBackend
    from tests.fake_providers import HF_TOKEN, Wire

    wire = Wire(port)
    backend = RetryBackend(
        HuggingFaceBackend(token=HF_TOKEN, transport=wire.transport(), resolve=wire.resolve),
        key=lambda _model: "fal-ai",
        budgets=RetryBudgets(),
        clock=SystemClock(),
        random=Random(),
    )
    return VideoService(backend, default_models={})


@asynccontextmanager
async def durable(folder: Path, service: VideoService) -> AsyncIterator[DurableJobs]:
    """Open durable work as `cinelet worker` does, with a given service."""
    settings = Settings(
        database_url=None,
        data_directory=folder,
        make_service=lambda: service,
        open_store=lambda: open_store(str(folder / "storage")),
        queue_of=lambda _model: "remote",
        max_waiting=10_000,
    )
    async with DurableJobs(settings) as jobs:
        yield jobs


async def work(folder: Path, service: VideoService, concurrency: int, *, told: Told) -> None:
    """Run a real worker until the input ends."""
    async with durable(folder, service) as jobs:
        worker = jobs.worker({"remote": concurrency})
        await told.ready()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run())
            await told.end()
            worker.stop()


async def worker(specification: dict[str, Any], told: Told) -> Any:
    """Work at nothing; measure when each prompt's work began."""
    folder = Path(specification["folder"])
    options = {name: specification[name] for name in ("own_files", "steps", "step_seconds") if name in specification}
    service = NoWork(folder, **options)
    await work(folder, service, specification["concurrency"], told=told)
    return service.starts


async def plain_worker(specification: dict[str, Any], told: Told) -> Any:
    """Run Procrastinate's worker; measure when each number's work began."""
    from benchmarks.jobs_place import plain

    starts: dict[int, float] = {}
    async with plain(
        Path(specification["folder"]), on_start=lambda number: starts.setdefault(number, time.monotonic())
    ) as opened:
        await told.ready()
        running = asyncio.create_task(opened.app.run_worker_async(concurrency=specification["concurrency"]))
        await told.end()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return starts


async def watcher(specification: dict[str, Any], told: Told) -> Any:
    """Watch generations to their ends; measure how late each change of stage and each step is heard of, in seconds."""
    stages: list[float] = []
    steps: list[float] = []

    async def watch(jobs: DurableJobs, generation_id: str) -> None:
        before: str | None = None
        async for event in jobs.events.watch(generation_id):
            now = time.monotonic()
            if not event.note:
                continue
            began, made = map(float, event.note.split())
            if event.stage != before:
                stages.append(now - began)
            elif not event.state.final:
                steps.append(now - made)
            before = event.stage

    folder = Path(specification["folder"])
    async with durable(folder, NoWork(folder)) as jobs, asyncio.TaskGroup() as group:
        watching = [group.create_task(watch(jobs, generation_id)) for generation_id in specification["ids"]]
        await told.ready()
        await asyncio.gather(*watching)
    return {"stages": stages, "steps": steps}


async def paid_worker(specification: dict[str, Any], told: Told) -> Any:
    """Work with the real backend on a fake provider, until it is killed. constants: of modules, set in this process."""
    for name, shortened in specification["constants"].items():
        module, _, constant = name.rpartition(".")
        imported = importlib.import_module(module)
        if not hasattr(imported, constant):
            raise RuntimeError(f"There is no constant {name} any more")
        setattr(imported, constant, shortened)
    service = paid_service(specification["port"])
    await work(Path(specification["folder"]), service, specification["concurrency"], told=told)
    return None


class Told:
    """What comes in: when to begin, and when to end."""

    def __init__(self) -> None:
        self._input = asyncio.StreamReader()

    @classmethod
    async def listening(cls) -> Self:
        """Return one that hears the process's input."""
        told = cls()
        protocol = asyncio.StreamReaderProtocol(told._input)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        return told

    async def ready(self) -> None:
        """Say that all is open, and wait until it shall begin."""
        print("ready", flush=True)
        await self._input.readline()

    async def end(self) -> None:
        """Wait until it shall end."""
        await self._input.read()


ROLES: Mapping[str, Callable[[dict[str, Any], Told], Any]] = {
    "worker": worker,
    "plain": plain_worker,
    "watcher": watcher,
    "paid": paid_worker,
}


async def main(specification: dict[str, Any]) -> None:
    """Run the role."""
    print(json.dumps(await ROLES[specification["role"]](specification, await Told.listening())))


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # what kills make of generations is counted, not told
    sys.path.insert(0, str(Path(__file__).parents[1]))
    asyncio.run(main(json.loads(sys.argv[1])))
