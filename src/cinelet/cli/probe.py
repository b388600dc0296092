"""`cinelet probe`: what a video file is, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def probe(
    file: Annotated[Path, typer.Argument(help="A video file.", show_default=False)],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a video file: size, rate, frames, duration, codec, SHA-256."""
    import dataclasses
    import json

    from cinelet.domain.errors import ValidationError
    from cinelet.media.probe import probe as measured

    if not file.is_file():
        why = "is not a file" if file.exists() else "does not exist"
        raise ValidationError(f"{file} {why}; give the name of a video file", {"file": why})
    facts = measured(file)
    values = {"file": str(file), "resolution": facts.resolution, **dataclasses.asdict(facts), "fps": float(facts.fps)}
    if as_json:
        typer.echo(json.dumps(values))
        return
    for name, value in values.items():
        typer.echo(f"{name:<11} {value}")
