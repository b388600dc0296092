"""`cinelet batch`: many videos from a file of requests, whatever happens in between."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cinelet.cli import INTERRUPTED
from cinelet.cli.output import require_writable
from cinelet.cli.worker import REMOTE_AT_ONCE
from cinelet.domain.errors import ValidationError


def batch(
    file: Annotated[
        Path, typer.Argument(help="JSONL: one {prompt, image, model, ...} a line; - for stdin.", show_default=False)
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the videos.")] = Path("videos"),
    concurrency: Annotated[int, typer.Option(min=1, help="How many remote ones at once.")] = REMOTE_AT_ONCE,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> int:
    """Make a video of each line. Started again with the same file and folder it goes on, and pays for nothing twice."""
    import asyncio

    from cinelet.assembly import durable_jobs
    from cinelet.cli.batch_run import Batch, View, read_lines, run
    from cinelet.config import Config
    from cinelet.observability import logs

    config = Config()
    logs.configure(level=config.cinelet_log_level or "CRITICAL", log_format=config.cinelet_log_format)
    folder = out.expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder {folder} cannot be made: {error.strerror or error}; choose another with --out"
        raise ValidationError(message, {"out": "Cannot be made"}) from error
    require_writable(folder)
    made = Batch(folder, list(read_lines(file, folder=folder.resolve())))
    view = View(made, quiet=quiet)

    async def work() -> bool:
        async with durable_jobs(config) as jobs:
            return await run(made, jobs, concurrency=concurrency, view=view)

    interrupted = asyncio.run(work())
    view.end(interrupted=interrupted, as_json=as_json)
    return INTERRUPTED if interrupted else 1 if made.failed else 0
