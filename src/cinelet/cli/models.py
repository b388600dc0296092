"""`cinelet models`: which models there are, what one can do, and what is to be ready before it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cinelet.cli import orders, pull

if TYPE_CHECKING:
    from cinelet.config import Config
    from cinelet.domain.backend import Offer

app = typer.Typer(rich_markup_mode=None)
app.command("pull")(pull.pull)
app.command("load")(orders.load)
app.command("unload")(orders.unload)
app.command("loaded")(orders.loaded)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("list")
def list_models(*, as_json: AsJson = False) -> None:
    """List the models that are configured, downloaded or used lately. Nothing is loaded or downloaded."""
    import asyncio
    import json

    from cinelet.api.model_list import listed_models
    from cinelet.assembly import make_registry
    from cinelet.config import Config

    config = Config()

    async def asked() -> Any:
        return await listed_models(config, used_lately=await _used_lately(config))

    models = asyncio.run(asked())
    schemes = sorted(make_registry(config).schemes())
    if as_json:
        roles, where = {model.id: model.roles for model in models}, {model.id: model.where for model in models}
        typer.echo(json.dumps({"models": roles, "where": where, "schemes": schemes}))
        return
    width = max(len(model.id) for model in models)
    for model in models:
        typer.echo(f"{model.id:<{width}}  {model.where:<6}  {', '.join(model.roles)}")
    typer.echo("\nAny other: --model org/name (Hugging Face Hub), hf:org/name:provider, https://endpoint, ...")
    typer.echo(f"Schemes served: {', '.join(schemes)}. What a model can do: cinelet models show MODEL")


async def _used_lately(config: Config) -> Sequence[str]:
    """Return the models that were used lately; nothing where the database would have to be started for that."""
    from cinelet.assembly import open_database
    from cinelet.domain.errors import CineletError
    from cinelet.jobs.private_server import PrivateServer
    from cinelet.jobs.queue import LOCAL_OWNER
    from cinelet.jobs.usage import models_used_lately

    if config.database_url is None:
        server = PrivateServer(config.cinelet_data_dir)
        try:
            if not server.answers():
                return ()
        finally:
            server.leave()  # a long path has been given a short name for the question
    try:
        async with await open_database(config) as database, database.connection() as connection:
            return await models_used_lately(connection, LOCAL_OWNER)
    except CineletError as error:
        typer.echo(f"which models were used lately is unknown: {error}", err=True)
        return ()


@app.command("show")
def show_model(
    model: Annotated[str, typer.Argument(help="A model reference, such as embedded.", show_default=False)],
    *,
    as_json: AsJson = False,
) -> None:
    """Show what a model can do here, without loading its weights."""
    import asyncio
    import json

    from cinelet.assembly import VideoService

    async def asked() -> Any:
        async with VideoService() as service:
            return await service.capabilities(model)

    known = asyncio.run(asked())
    values: dict[str, Any] = {
        "model": known.model,
        "description": known.description or None,
        "tasks": sorted(known.tasks),
        "runs_on": known.runs_on,
        "parameters": sorted(known.parameters),
        "native_fps": known.native_fps,
        "frames": _frames(known.frame_rule),
        "default_size": known.default_size and "x".join(map(str, known.default_size)),
        "size_multiple": known.size_multiple,
        "default_steps": known.default_steps,
        "default_guidance": known.default_guidance,
        "license": known.license,
        "offers": [asdict(offer) for offer in known.offers],
        "vocabulary": {kind: list(words) for kind, words in known.vocabulary.items()} or None,
        "examples": list(known.examples),
    }
    if as_json:
        typer.echo(json.dumps(values))
        return
    for name, value in values.items():
        if name == "offers":
            _show_offers(known.offers)
        elif name == "examples":
            for number, example in enumerate(known.examples):
                typer.echo(f"{'' if number else name:<16} {example}")
        elif isinstance(value, dict):
            typer.echo("knows")
            for kind, words in value.items():
                typer.echo(f"  {kind:<14} {', '.join(words)}")
        else:
            text = ", ".join(value) if isinstance(value, list) else value
            typer.echo(f"{name:<16} {'(unknown)' if text is None else text}")


def _show_offers(offers: Sequence[Offer]) -> None:
    """Print who runs a remote model, in the order in which they are tried, and why some are not."""
    for number, offer in enumerate(offers):
        why = f"; not used: {offer.why_not}" if offer.why_not else ""
        label = "" if number else "offered by"
        typer.echo(f"{label:<16} {offer.provider} ({offer.task}, {offer.status}, as {offer.provider_model}){why}")


def _frames(rule: Any) -> str | None:
    if rule is None:
        return None
    grid = "any number" if rule.multiple == 1 else f"{rule.multiple}k+{rule.offset}"
    return f"{grid}, {rule.minimum} to {rule.maximum or 'any'}"
