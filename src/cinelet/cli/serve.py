"""`cinelet serve`: the HTTP service, with its workers beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cinelet.domain.errors import ValidationError

if TYPE_CHECKING:
    from cinelet.config import Config


def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for a free one.")] = 8000,
    workers: Annotated[
        bool, typer.Option("--workers/--no-workers", help="Work on jobs as well, or only take them.")
    ] = True,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Serve everybody who reaches this address, without keys.")
    ] = False,
) -> None:
    """Serve videos over HTTP until it is stopped (Ctrl-C, SIGTERM)."""
    import asyncio

    try:
        import uvicorn

        from cinelet.api import make_app
    except ImportError as error:
        message = f"The HTTP service needs {error.name}; install with: pip install 'cinelet[serve]'"
        raise ValidationError(message, {"serve": "Not installed"}) from error
    from cinelet.api.access import is_loopback
    from cinelet.api.head_limit import HeadLimit
    from cinelet.api.supervisor import Supervisor, worker_commands
    from cinelet.cli.worker import QUEUES
    from cinelet.config import Config
    from cinelet.observability import logs

    config = Config()
    logs.configure(level=config.cinelet_log_level or "WARNING", log_format=config.cinelet_log_format)
    if not (is_loopback(host) or no_auth or asyncio.run(_has_keys(config))):
        message = f"Everybody who reaches {host} could use this service, as there is no key"
        todo = "make one (cinelet keys create NAME), or give --no-auth"
        raise ValidationError(f"{message}; {todo}", {"host": "Not this machine alone"})
    settings = uvicorn.Config(
        make_app(config, open_to_all=no_auth),
        http=HeadLimit,
        host=host,
        port=port,
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=20,
    )

    async def run() -> None:
        async with Supervisor(worker_commands(QUEUES if workers else [])):
            server = uvicorn.Server(settings)
            serving = asyncio.create_task(server.serve())
            while not server.started and not serving.done():
                await asyncio.wait({serving}, timeout=0.02)
            if server.started:
                bound = server.servers[0].sockets[0].getsockname()
                typer.echo(f"cinelet serves at http://{bound[0]}:{bound[1]} (documents: /docs)", err=True)
            await serving

    asyncio.run(run())


async def _has_keys(config: Config) -> bool:
    from cinelet.assembly import open_database
    from cinelet.jobs.keys import Keys

    async with await open_database(config) as database:
        return await Keys(database).exist()
