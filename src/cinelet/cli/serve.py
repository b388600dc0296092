"""`cinelet serve`: the HTTP service, with its workers beside it."""

from __future__ import annotations

import importlib.util
from typing import Annotated

import typer

from cinelet.domain.errors import ValidationError

NEEDED = ("fastapi", "uvicorn", "sse_starlette", "python_multipart")


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
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser, once it is there.")] = False,
) -> None:
    """Serve a page and an HTTP interface until it is stopped (Ctrl-C, SIGTERM)."""
    import asyncio

    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        message = f"The HTTP service needs {missing[0]}; install with: pip install 'cinelet[serve]'"
        raise ValidationError(message, {"serve": "Not installed"})
    from cinelet.api import serving
    from cinelet.cli.worker import QUEUES
    from cinelet.config import Config
    from cinelet.observability import exporting, logs

    def tell(address: str) -> None:
        typer.echo(f"cinelet serves at {address} (open it in a browser; documents: /docs)", err=True)
        if open_page:
            typer.launch(address)

    config = Config()
    logs.configure(level=config.cinelet_log_level or "WARNING", log_format=config.cinelet_log_format, process="serve")
    with exporting.exported(**config.tracing, process="serve"):
        asyncio.run(
            serving.serve(
                config,
                host=host,
                port=port,
                queues=QUEUES if workers else (),
                open_to_all=no_auth,
                tell=tell,
            )
        )
