"""The service in a thread of the test's process, over a real port, with a worker beside it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2
import pytest
import uvicorn

from cinelet import assembly
from cinelet.api import make_app
from cinelet.api.pace_limit import PaceLimit
from cinelet.clock import Clock
from cinelet.config import Config
from cinelet.domain.backend import Backend
from cinelet.jobs.database import Database
from cinelet.jobs.durable import DurableJobs

START_SECONDS = 60.0
SHORT = {"duration": 1, "fps": 4}
Result = TypeVar("Result")


def made(client: httpx2.Client, prompt: str = "a gull", **values: Any) -> dict[str, Any]:
    """Return a completed generation."""
    reply = client.post("/v1/text-to-video", json={"prompt": prompt, **SHORT, **values}, headers={"prefer": "wait=30"})
    assert reply.status_code == 200, reply.text
    generation: dict[str, Any] = reply.json()
    assert generation["state"] == "completed", generation
    return generation


def unnamed(error: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an error without what names this one request, so that two can be compared."""
    details = {
        name: value for name, value in error["error"]["details"].items() if name not in {"request_id", "trace_id"}
    }
    return {"error": {**error["error"], "details": details}}


def told(connection: socket.socket) -> bytes:
    """Return all that is answered until the service hangs up."""
    answered = b""
    try:
        while piece := connection.recv(65536):
            answered += piece
    except ConnectionError:
        pass
    return answered


class Served:
    """Serves until closed. client: speaks to it."""

    def __init__(
        self,
        data: Path,
        *,
        make_backend: Callable[[], Backend],
        worker: bool = True,
        open_to_all: bool = False,
        clock: Clock | None = None,
        **settings: Any,
    ) -> None:
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(assembly, "make_backend", lambda *_: make_backend())
        self.config = Config(cinelet_data_dir=data, **settings)
        self._with_worker = worker
        self.app = make_app(self.config, open_to_all=open_to_all, clock=clock)
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._failure: BaseException | None = None
        self.port = 0
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(START_SECONDS), "the service does not start"
        if self._failure is not None:
            raise self._failure
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx2.Client(base_url=self.url, timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._patch.undo()
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def with_database(self, work: Callable[[Database], Coroutine[Any, Any, Result]]) -> Result:
        """Run a coroutine beside the service, on connections of its own."""
        return self.with_jobs(lambda jobs: work(jobs.database))

    def with_jobs(self, work: Callable[[DurableJobs], Coroutine[Any, Any, Result]]) -> Result:
        """Run a coroutine beside the service, with durable jobs of its own."""
        return asyncio.run_coroutine_threadsafe(work(self._jobs), self._loop).result(30)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:  # noqa: BLE001  (raised in the test)
            self._failure = failure
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        settings = uvicorn.Config(
            self.app,
            http=PaceLimit,
            port=0,
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(settings)
        serving = asyncio.create_task(server._serve())
        async with assembly.durable_jobs(self.config) as jobs:
            self._jobs = jobs
            worker = jobs.worker({"remote": 8, "local": 4})
            working = asyncio.create_task(worker.run()) if self._with_worker else None
            while not server.started:
                assert not serving.done()
                await asyncio.sleep(0.01)
            self.port = server.servers[0].sockets[0].getsockname()[1]
            self._ready.set()
            await self._stop.wait()
            worker.stop()
            if working is not None:
                await working
        self.app.state.cinelet.jobs.events.end_watches()  # as `serve` does
        server.should_exit = True
        await serving
