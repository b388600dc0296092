"""The process of the service: everything starts at once, and a stop loses no request that was taken.

Nothing heavy is imported here before the workers and the database have been started: they start meanwhile.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from cinelet.api.devices import local_devices
from cinelet.api.loopback import is_loopback
from cinelet.api.supervisor import Supervisor, worker_commands
from cinelet.config import Config
from cinelet.domain.errors import ValidationError
from cinelet.garbage import collect_rarely, keep_what_is_loaded

if TYPE_CHECKING:
    from fastapi import FastAPI
    from uvicorn import Server

DRAIN_SECONDS = 20
"""What requests get to end, after a stop; whoever waits for a video is answered at once."""
BACKLOG = 2048


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that takes connections, also while the service still starts; raise `ValidationError`."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        taken = socket.socket(family, kind, protocol)
        try:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
            taken.listen(BACKLOG)
        except BaseException:
            taken.close()
            raise
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no name of a host"
        message = f"{host}:{port} cannot be listened on: {why}; choose another with --host and --port"
        raise ValidationError(message, {"port": "Cannot be listened on"}) from error
    taken.settimeout(0)
    return taken


async def serve(
    config: Config,
    *,
    host: str,
    port: int,
    queues: Sequence[str],
    open_to_all: bool,
    tell: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM, with a worker for each of the queues. tell: is given the address, once it serves.

    Raises `ValidationError` where nobody in particular could use the service from elsewhere, or a worker cannot do what
    it is told to, and `DatabaseError`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with _database_server(config) as started:
        if not (is_loopback(host) or open_to_all):
            await started
            await _require_keys(config, host)
        with listening(host, port) as taken:
            async with Supervisor(worker_commands(queues, devices=local_devices(config))) as workers:
                app, server = await asyncio.to_thread(_loaded, config, open_to_all=open_to_all, workers=workers)
                await started
                async with app.router.lifespan_context(app):
                    serving = asyncio.create_task(server.serve([taken]))
                    await _until(lambda: server.started, serving)
                    keep_what_is_loaded()
                    collect_rarely()
                    bound = taken.getsockname()
                    tell(f"http://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}")
                    stopping = asyncio.create_task(stop.wait())
                    refused = asyncio.create_task(workers.refusing.get())
                    await asyncio.wait({stopping, refused, serving}, return_when=asyncio.FIRST_COMPLETED)
                    stopping.cancel()
                    refused.cancel()
                    # All at once, or the times that each gets would add up.
                    workers.stop()
                    app.state.cinelet.jobs.events.end_watches()
                    server.should_exit = True
                    await serving
                    if refused.done() and not refused.cancelled():
                        message = f"The worker for {refused.result()!r} does not start; the line above says why"
                        raise ValidationError(message, {"worker": "Does not start"})


def _loaded(config: Config, *, open_to_all: bool, workers: Supervisor) -> tuple[FastAPI, Server]:
    """Return the application and its server. Takes most of a start."""
    import uvicorn

    from cinelet.api import make_app
    from cinelet.api.pace_limit import PaceLimit

    class QuietServer(uvicorn.Server):
        """Leaves signals to whoever runs it."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    app = make_app(config, open_to_all=open_to_all, workers=workers)
    settings = uvicorn.Config(
        app,
        http=PaceLimit,
        lifespan="off",  # opened around the server: its failure is an error of ours
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    return app, QuietServer(settings)


async def _until(reached: Callable[[], bool], serving: asyncio.Task[None]) -> None:
    while not reached() and not serving.done():
        await asyncio.wait({serving}, timeout=0.02)


@asynccontextmanager
async def _database_server(config: Config) -> AsyncIterator[asyncio.Future[None]]:
    """Start the private database in a thread, and keep it running; give what is done when it runs."""
    if config.database_url is not None:
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        started.set_result(None)
        yield started
        return
    from cinelet.jobs.private_server import PrivateServer

    server = PrivateServer(config.cinelet_data_dir)
    starting = asyncio.ensure_future(asyncio.to_thread(server.attach))
    try:
        yield asyncio.shield(starting)
    finally:
        await asyncio.wait({starting})
        if starting.exception() is None:
            await asyncio.to_thread(server.leave)


async def _require_keys(config: Config, host: str) -> None:
    from cinelet.assembly import open_database
    from cinelet.jobs.keys import Keys

    async with await open_database(config) as database:
        if await Keys(database).exist():
            return
    message = f"Everybody who reaches {host} could use this service, as there is no key"
    todo = "make one (cinelet keys create NAME), or give --no-auth"
    raise ValidationError(f"{message}; {todo}", {"host": "Not this machine alone"})
