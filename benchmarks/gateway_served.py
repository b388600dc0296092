"""One application under one server, in a process of its own, until SIGTERM; the section `servers` compares them.

    python benchmarks/gateway_served.py '{"server": "granian", "app": "cinelet", "host": "127.0.0.1", "port": 8001}'

server: "uvicorn" (on asyncio), "uvicorn on uvloop" or "granian" (embedded, on uvloop). app: "cinelet", as the
environment configures it, "probe", which tells what a server does, or "failing", which cannot start. All run as they
would in `cinelet serve`: inside an event loop that is ours. Prints the port that the server tells, once it serves.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from cinelet.clock import SystemClock

UVICORN, UVLOOP, GRANIAN = "uvicorn", "uvicorn on uvloop", "granian"
SLOW_SECONDS = 1.5
DRAIN_SECONDS = 20
FAILURE = "there is no database here"


def probe() -> Starlette:
    """Return an application that tells what its server does with it."""
    clock = SystemClock()
    hung_up: list[str] = []

    async def slow(_: Request) -> Response:
        await clock.pause_async(SLOW_SECONDS)
        return JSONResponse({"done": True})

    async def file(_: Request) -> Response:
        return FileResponse(__file__)

    async def stream(_: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b": waiting\n\n"
                    await clock.pause_async(0.05)
            finally:
                hung_up.append("stream")

        return StreamingResponse(pieces(), media_type="text/event-stream")

    async def facts(request: Request) -> Response:
        return JSONResponse({"server": request.scope["server"], "hung_up": len(hung_up)})

    routes = {"/slow": slow, "/file": file, "/stream": stream, "/facts": facts}
    return Starlette(routes=[Route(path, answer) for path, answer in routes.items()])


def failing() -> Starlette:
    """Return an application that cannot start."""

    @asynccontextmanager
    async def opened(_: Starlette) -> AsyncIterator[None]:
        raise RuntimeError(FAILURE)
        yield

    return Starlette(lifespan=opened)


def cinelet() -> Any:
    """Return ours."""
    from cinelet.api import make_app
    from cinelet.config import Config

    return make_app(Config())


APPLICATIONS: dict[str, Callable[[], Any]] = {"cinelet": cinelet, "probe": probe, "failing": failing}


async def under_uvicorn(app: Any, *, host: str, port: int) -> None:
    """Serve as `cinelet serve` does, on whichever event loop this is."""
    import uvicorn

    from cinelet.api.head_limit import HeadLimit

    settings = uvicorn.Config(
        app,
        http=HeadLimit,
        host=host,
        port=port,
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = uvicorn.Server(settings)
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():  # noqa: ASYNC110  (uvicorn sets a flag)
        await asyncio.sleep(0.02)
    if server.started:
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await serving


async def under_granian(app: Any, *, host: str, port: int) -> None:
    """Serve with granian inside this event loop."""
    from granian.constants import HTTPModes, Interfaces
    from granian.server.embed import Server

    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=2048,
        backpressure=2048,
        log_access=False,
    )
    server.workers_kill_timeout = DRAIN_SECONDS
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    serving = asyncio.create_task(server.serve())
    # It does not tell when it serves, nor at which port.
    await asyncio.sleep(0.1)
    if not serving.done():
        print(server.bind_port, flush=True)
    await serving


def main(specification: dict[str, Any]) -> None:
    """Serve until SIGTERM."""
    app = APPLICATIONS[specification["app"]]()
    under = under_granian if specification["server"] == GRANIAN else under_uvicorn
    factory = None if specification["server"] == UVICORN else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(under(app, host=specification["host"], port=specification["port"]))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main(json.loads(sys.argv[1]))
