"""A real service is stopped under load and killed piece by piece: no request fails that it took, no job is lost."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.backends.openai_videos.fake_engine import FakeEngine
from tests.journeys.service_process import ServiceProcess, environment_of, until

CLIENTS = 16
SHORT = {"model": "slow:x", "duration": 1, "fps": 4}


@pytest.fixture
def data(tmp_path: Path, copy_data: Callable[[Path], Path], processes_of: Callable[[Path], list[int]]) -> Any:
    directory = copy_data(tmp_path / "data")
    yield directory
    folder = directory / "database" / "postgres"
    left = processes_of(folder)
    if left:
        os.kill(int((folder / "postmaster.pid").read_text().splitlines()[0]), signal.SIGINT)
    assert left == []


@dataclass
class Asked:
    """What one client was answered. refused: after the stop only."""

    ids: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)


def ask_until_refused(url: str, number: int, stopped_at: Callable[[], float | None]) -> Asked:
    """Ask for videos, wait for some, look at lists, each over a connection of its own, until nobody listens."""
    asked = Asked()
    with httpx2.Client(base_url=url, timeout=60, limits=httpx2.Limits(max_keepalive_connections=0)) as client:
        for turn in range(10_000):
            began = time.monotonic()
            try:
                if turn == 0 or (turn == 20 and number % 4 == 0):
                    # Longer than the test takes: only the stop ends this wait.
                    headers = {"prefer": "wait=100"} if turn else {}
                    body = {**SHORT, "prompt": f"gull {number} {turn}"}
                    reply = client.post("/v1/text-to-video", json=body, headers=headers)
                    asked.ids.append(reply.json()["id"])
                else:
                    reply = client.get("/v1/generations", params={"limit": 5})
                    reply.json()
                asked.statuses.append(reply.status_code)
            except httpx2.TransportError as error:
                asked.failures.append((began, repr(error)))
                if stopped_at() is not None:
                    break
            time.sleep(0.02)
    return asked


@pytest.mark.slow
def test_a_stop_under_load_fails_no_request_that_was_taken_and_loses_no_job(tmp_path: Path, data: Path) -> None:
    environment = environment_of(tmp_path, data=data)
    stopped: list[float] = []
    with ServiceProcess(environment) as service, ThreadPoolExecutor(CLIENTS) as threads:
        running = [
            threads.submit(ask_until_refused, service.url, n, lambda: stopped[0] if stopped else None)
            for n in range(CLIENTS)
        ]
        follower = threading.Thread(target=follow, args=(service,), daemon=True)
        follower.start()
        time.sleep(4)
        stopped.append(time.monotonic())
        seconds = service.terminate()
        asked = [client.result(60) for client in running]
        follower.join(10)
        assert not follower.is_alive()
        assert service.workers_left() == []
    assert seconds < 30
    early = [failure for one in asked for failure in one.failures if failure[0] < stopped[0]]
    assert early == []
    assert {status for one in asked for status in one.statuses} <= {200, 202}
    ids = [name for one in asked for name in one.ids]
    assert len(ids) >= CLIENTS
    with ServiceProcess(environment) as service:
        until(lambda: states_of(service, ids) == {"completed"}, what="what was asked for before the stop")
        assert service.terminate() < 30
        assert service.workers_left() == []


def follow(service: ServiceProcess) -> None:
    """Follow a generation that does not end, as a browser does."""
    later = {**SHORT, "prompt": "last of all", "priority": -100, "num_inference_steps": 100}
    with httpx2.Client(base_url=service.url, timeout=60) as client:
        name = client.post("/v1/text-to-video", json=later).json()["id"]
        with client.stream("GET", f"/v1/generations/{name}/events") as events:
            for _ in events.iter_lines():
                pass
        # It goes on for ever otherwise: a hundred steps, after everybody else's.


def states_of(service: ServiceProcess, ids: list[str]) -> set[str]:
    states = set()
    for name in ids:
        generation = service.client.get(f"/v1/generations/{name}").json()
        assert generation["state"] in {"queued", "in_progress", "completed"}, generation
        states.add(generation["state"])
    return states


class SlowEngine(FakeEngine):
    """Another engine, whose videos are done when they may be. polled: those that were asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = threading.Event()
        self.polled: set[str] = set()

    async def _retrieve(self, request: Request) -> Response:
        job = self._job(request)
        if job is None or self.may_end.is_set():
            return await super()._retrieve(request)
        self.polled.add(request.path_params["id"])
        return JSONResponse({**job.reply, "status": "in_progress", "progress": 50})


@pytest.mark.slow
def test_each_process_may_be_killed_while_jobs_run_and_nothing_is_lost(tmp_path: Path, data: Path) -> None:
    environment = environment_of(tmp_path, data=data)
    with SlowEngine() as engine:
        remote = f"openai:tiny-video@{engine.url}"
        with ServiceProcess(environment) as service:
            bodies = [
                {**SHORT, "prompt": f"gull {n}", "model": model} for n in range(4) for model in ("slow:x", remote)
            ]
            requests = [*bodies, *[{**SHORT, "prompt": "long", "num_inference_steps": 100}]]
            batch = service.client.post("/v1/batches", json={"requests": requests}).json()
            until(lambda: len(engine.polled) == 4 and in_progress(service, batch) >= 5, what="the beginning")
            for queue in ("remote", "local"):
                worker = service.worker(queue)
                assert worker is not None
                worker.kill()
                until(functools.partial(has_other_worker, service, queue, worker), what=f"a new {queue} worker")
                assert service.client.get("/healthz").status_code == 200
            postmaster = int((data / "database" / "postgres" / "postmaster.pid").read_text().splitlines()[0])
            os.kill(postmaster, signal.SIGKILL)
            until(lambda: counts_of(service, batch) is not None, what="a new database server")
            service.kill()
            until(lambda: service.workers_left() == [], what="the end of workers whose service was killed")
        engine.may_end.set()
        with ServiceProcess(environment) as service:
            until(lambda: (counts_of(service, batch) or {})["completed"] == len(requests), seconds=90, what="the batch")
            assert engine.posts == 4, "nothing is asked for twice"
            assert service.terminate() < 30
            assert service.workers_left() == []


def has_other_worker(service: ServiceProcess, queue: str, killed: psutil.Process) -> bool:
    return service.worker(queue) not in {None, killed}


def counts_of(service: ServiceProcess, batch: dict[str, Any]) -> dict[str, int] | None:
    """Return how far a batch is; None while the database is away. The service itself answers all the time."""
    reply = service.client.get(f"/v1/batches/{batch['id']}")
    if reply.status_code == 503:
        return None
    assert reply.status_code == 200, reply.text
    counts: dict[str, int] = reply.json()["counts"]
    assert counts["failed"] == 0, service.client.get(f"/v1/batches/{batch['id']}/results").text
    return counts


def in_progress(service: ServiceProcess, batch: dict[str, Any]) -> int:
    return (counts_of(service, batch) or {"in_progress": 0})["in_progress"]


def test_a_service_whose_device_is_not_there_ends_and_says_so(data: Path) -> None:
    command = [sys.executable, "-m", "cinelet", "serve", "--port", "0"]
    environment = {**os.environ, "CINELET_DATA_DIR": str(data), "CINELET_DEVICE": "cuda:99"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2
    assert errors[0].startswith("error: The device 'cuda:99' cannot be used here: ")
    assert errors[1:] == ["error: The worker for 'local' does not start; the line above says why"]
