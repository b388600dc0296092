"""Starts real workers, each a process of its own, in no time: a process that has imported everything forks them.

    python -m tests.journeys.worker_process '{"data_directory": ..., "schema": ..., "store": ..., "port": ..., ...}'

Reads commands on stdin: "start" forks a worker and prints its id. At the end of stdin it kills what is left. Times are
shortened, so that a lost worker is noticed in seconds.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from cinelet.backends.huggingface import HuggingFaceBackend
from cinelet.domain.backend import Backend, Context, GeneratedVideo
from cinelet.domain.request import Task, VideoRequest
from cinelet.jobs import engine
from cinelet.jobs import sweep as sweep_module
from cinelet.jobs import worker as worker_module
from cinelet.jobs.durable import DurableJobs, Settings
from cinelet.service import VideoService
from cinelet.storage.blobs import open_store
from cinelet.testing import FakeBackend
from cinelet.transport.polling import PollSchedule
from tests.fake_providers import HF_TOKEN, Wire

HEARTBEAT_SECONDS, STALLED_SECONDS, SWEEP_SECONDS = 0.3, 2.0, 0.3


class DeadlyBackend(FakeBackend):
    """Kills its process on one prompt, as a native crash does; makes all others."""

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        if request.prompt == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().generate(request, context)


def make_backend(script: dict[str, Any]) -> Backend:
    """Return what the workers work with."""
    if script["backend"] == "fal":
        wire = Wire(script["port"])
        schedule = PollSchedule(first_seconds=0.05, minimum_seconds=0.05, minimum_after_failure_seconds=0.1)
        return HuggingFaceBackend(token=HF_TOKEN, transport=wire.transport(), resolve=wire.resolve, schedule=schedule)
    if script["backend"] == "deadly":
        return DeadlyBackend()
    return FakeBackend(steps=script["steps"], step_seconds=script["step_seconds"])


async def work(script: dict[str, Any]) -> None:
    """Run one worker until SIGTERM."""
    engine.HEARTBEAT_SECONDS, engine.STALLED_SECONDS = HEARTBEAT_SECONDS, STALLED_SECONDS
    vars(worker_module).update(SWEEP_SECONDS=SWEEP_SECONDS, SWEEPS_OF_ALL=3)
    vars(sweep_module).update(STALLED_SECONDS=STALLED_SECONDS, LOST_DELIVERY_SECONDS=STALLED_SECONDS)
    settings = Settings(
        database_url=None,
        data_directory=Path(script["data_directory"]),
        make_service=lambda: VideoService(make_backend(script), default_models=dict.fromkeys(Task, "embedded")),
        open_store=lambda: open_store(script["store"]),
        queue_of=lambda _: "remote",
        max_waiting=1000,
        allow_private_webhooks=True,
        schema=script["schema"],
    )
    async with DurableJobs(settings) as jobs:
        worker = jobs.worker(script["queues"])
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run()


def main() -> None:
    """Fork a worker at each command."""
    script = json.loads(sys.argv[1])
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    children: list[int] = []
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.close(0)
            status = 1
            try:
                asyncio.run(work(script))
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
        print(pid, flush=True)  # noqa: T201  (to the farm)
    for pid in children:
        try:
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
