"""`cinelet db`: the database of jobs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)

File = Annotated[Path, typer.Argument(help="The dump.", show_default=False)]


@app.command()
def status(*, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show where the database is, its versions, its size, and how many generations it holds."""
    import asyncio

    from cinelet.assembly import open_database
    from cinelet.domain.amount import amount

    async def asked() -> None:
        async with await open_database() as database:
            found = await database.status()
        if as_json:
            typer.echo(json.dumps(asdict(found)))
            return
        kind = "private server in" if found.private else "at"
        typer.echo(f"PostgreSQL {found.server_version}, {kind} {found.where}")
        typer.echo(f"schema {found.schema_version} of {found.newest_schema_version}, {amount(found.size_bytes)}")
        counts = ", ".join(f"{count:,} {state}" for state, count in found.generations.items())
        typer.echo(f"generations: {counts or 'none'}")

    asyncio.run(asked())


@app.command()
def dump(
    file: File, *, force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False
) -> None:
    """Write all jobs to a file. It holds prompts: only you can read it."""
    import asyncio

    from cinelet.assembly import open_database
    from cinelet.cli.output import require_free

    require_free([file.expanduser()], force=force, instead="another name")

    async def dumped() -> None:
        async with await open_database() as database:
            await database.dump(file.expanduser())

    asyncio.run(dumped())
    typer.echo(f"{file}: {file.expanduser().stat().st_size:,} bytes")


@app.command()
def restore(
    file: File, *, force: Annotated[bool, typer.Option("--force", "-f", help="Replace what is there.")] = False
) -> None:
    """Replace all jobs by those of a dump."""
    import asyncio

    from cinelet.assembly import open_database
    from cinelet.domain.errors import ValidationError

    async def restored() -> None:
        async with await open_database() as database:
            held = sum((await database.status()).generations.values())
            if held and not force:
                message = f"The database holds {held:,} generations, which would be replaced; give --force to do so"
                raise ValidationError(message, {"force": "Missing"})
            await database.restore(file.expanduser())

    asyncio.run(restored())
    typer.echo(f"restored from {file}")
