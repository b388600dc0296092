"""`cinelet config`: every setting, its value, and where that is from."""

from __future__ import annotations

from typing import Annotated

import typer


def config(*, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show every setting, its value and where it is from. Secrets are masked."""
    import json

    from cinelet.config import Config

    settings = list(Config().settings())
    if as_json:
        typer.echo(
            json.dumps({setting.name: {"value": setting.value, "source": setting.source} for setting in settings})
        )
        return
    for setting in settings:
        value = "(not set)" if setting.value is None else setting.value
        typer.echo(f"{setting.name}={value}\n    from: {setting.source}\n    {setting.description}")
