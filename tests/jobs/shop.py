"""Durable jobs with a backend that a test controls, on a real database and in a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cinelet.domain.backend import Backend, Context, GeneratedVideo
from cinelet.domain.progress import Stage
from cinelet.domain.request import Task, VideoRequest
from cinelet.jobs.durable import DurableJobs, Settings
from cinelet.jobs.generation import Generation
from cinelet.jobs.worker import Worker
from cinelet.resilience import PriceTable
from cinelet.service import VideoService
from cinelet.storage.blobs import open_store
from cinelet.storage.cache import VideoCache
from cinelet.testing import FakeBackend

SECONDS = 20.0
"""Longer than anything here takes, so that a test that hangs ends."""


def a_request(prompt: str = "a gull", **values: Any) -> VideoRequest:
    return VideoRequest(**{"task": Task.TEXT_TO_VIDEO, "prompt": prompt, "duration": 1, "fps": 4, **values})


class PaidBackend(FakeBackend):
    """Works at a pretended provider: it saves a handle, waits there, and makes the video when it may.

    `submitted` counts what was paid for, `resumed` what was gone on with, `cancelled` what was cancelled there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.submitted = self.resumed = self.cancelled = 0
        self.accepts = asyncio.Event()
        self.accepts.set()
        self.may_end = asyncio.Event()

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        if context.handle is None:
            context.check()
            await context.save_handle({"model": request.model, "submitting": True})
            self.submitted += 1
            await self.accepts.wait()
            await context.save_handle({"model": request.model, "id": f"job-{self.submitted}"})
        else:
            self.resumed += 1
        try:
            while not self.may_end.is_set():
                context.report(Stage.DENOISING, 0.3, measured=False)
                await self.clock.pause_async(0.02, context=context)
        except BaseException:
            if not context.handed_over:
                self.cancelled += 1
            raise
        return await super().generate(request, context)


class Shop:
    """What a test needs: `jobs` to ask, and workers to start."""

    def __init__(self, jobs: DurableJobs) -> None:
        self.jobs = jobs
        self.queue = jobs.queue
        self.ledger = jobs.ledger

    async def submit(
        self, prompt: str = "a gull", *, options: Mapping[str, Any] | None = None, **values: Any
    ) -> Generation:
        return (await self.queue.submit(a_request(prompt, **values), **(options or {}))).generation

    @asynccontextmanager
    async def working(self, *, remote: int = 4, local: int = 0, grace_seconds: float | None = None):
        worker = self.worker(remote=remote, local=local, grace_seconds=grace_seconds)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await asyncio.wait_for(task, SECONDS)

    def worker(self, *, remote: int = 4, local: int = 0, grace_seconds: float | None = None) -> Worker:
        sizes = {name: size for name, size in (("remote", remote), ("local", local)) if size}
        worker = self.jobs.worker(sizes)
        if grace_seconds is not None:
            worker._grace_seconds = grace_seconds
        return worker

    async def ended(self, generation: Generation) -> Generation:
        async with asyncio.timeout(SECONDS):
            async for _ in self.jobs.events.watch(generation.id):
                pass
        return await self.get(generation)

    async def until(self, generation: Generation, reached: Callable[[Generation], bool]) -> Generation:
        async with asyncio.timeout(SECONDS):
            while not reached(found := await self.get(generation)):  # noqa: ASYNC110  (another process changes it)
                await asyncio.sleep(0.01)
        return found

    async def get(self, generation: Generation) -> Generation:
        found = await self.ledger.get(generation.id)
        assert found is not None
        return found

    async def claim(self, generation_id: str, *, worker: str, lost_attempt: int | None = None) -> Generation:
        claimed = await self.ledger.claim(generation_id, worker=worker, lost_attempt=lost_attempt)
        assert claimed is not None
        return claimed

    async def engine_jobs(self) -> int:
        async with self.jobs.database.connection() as connection:
            row = await (await connection.execute("SELECT count(*) FROM procrastinate_jobs")).fetchone()
        assert row is not None
        return int(row[0])


def run_shop(
    work: Callable[[Shop], Awaitable[Any]],
    *,
    make_backend: Callable[[], Backend],
    data_directory: Path,
    schema: str,
    folder: Path,
    cache: bool = False,
    previews: bool = False,
    max_waiting: int = 1000,
    allow_private_webhooks: bool = False,
    preload: Sequence[str] = (),
    prices: PriceTable | None = None,
    fallbacks: Mapping[Task, Sequence[str]] | None = None,
) -> Any:
    """Open everything, run a coroutine with it, and close everything."""

    def make_service() -> VideoService:
        store = open_store(str(folder / "store"))
        return VideoService(
            make_backend(),
            default_models=dict.fromkeys(Task, "hf:org/model:fal-ai"),
            cache=VideoCache(store, max_bytes=10**9) if cache else None,
            previews=previews,
            prices=prices,
        )

    settings = Settings(
        database_url=None,
        data_directory=data_directory,
        make_service=make_service,
        open_store=lambda: open_store(str(folder / "store")),
        queue_of=lambda model: "local" if model == "embedded" else "remote",
        max_waiting=max_waiting,
        allow_private_webhooks=allow_private_webhooks,
        schema=schema,
        preload=preload,
        fallbacks=fallbacks or {},
    )

    async def opened() -> Any:
        async with DurableJobs(settings) as jobs:
            return await work(Shop(jobs))

    return asyncio.run(opened())
