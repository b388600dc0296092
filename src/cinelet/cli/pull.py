"""`cinelet models pull`: the files of a model, brought to this machine ahead."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from cinelet.cli import progress
from cinelet.domain.amount import amount

if TYPE_CHECKING:
    from cinelet.domain.backend import Pulled
    from cinelet.domain.progress import Progress


def pull(
    model: Annotated[str, typer.Argument(help="A model that runs here, such as org/name.", show_default=False)],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Download what is missing of a model, and load nothing."""
    import asyncio
    import json
    import tempfile
    from pathlib import Path

    from cinelet.assembly import VideoService
    from cinelet.config import Config
    from cinelet.domain.backend import Context
    from cinelet.observability import logs

    config = Config()
    logs.configure(level=config.cinelet_log_level or "CRITICAL", log_format=config.cinelet_log_format)

    async def pulled(listener: progress.Listener) -> Pulled:
        def listen(news: Progress) -> None:
            # Of a generation a download is a small part; here it is the whole.
            listener(replace(news, fraction=news.step / max(1, news.steps)))

        context = Context(Path(tempfile.gettempdir()), on_progress=listen)
        async with VideoService(config=config) as service:
            return await service.pull(model, context)

    with progress.shown(quiet=quiet or as_json) as listener:
        done = asyncio.run(pulled(listener))
    if as_json:
        typer.echo(json.dumps({"model": done.model, "folder": str(done.folder), "bytes": done.bytes}))
    elif not quiet:
        what = f"{amount(done.bytes)} came" if done.bytes else "nothing to do, all of it is here"
        typer.echo(f"{done.model}: {what}, in {done.folder}")
