"""`cinelet keys`: who may use the HTTP service."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cinelet.domain.errors import CineletError, ValidationError

if TYPE_CHECKING:
    from cinelet.jobs.keys import ApiKey, Keys

app = typer.Typer(rich_markup_mode=None)

_Result = TypeVar("_Result")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is called.", show_default=False)],
    *,
    role: Annotated[
        str, typer.Option(help="generate, read (look only) or admin (sees and does all, of all owners).")
    ] = "generate",
    owner: Annotated[str | None, typer.Option(help="Whose generations it makes and sees; by default the name.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="At most so many requests.")] = None,
    running: Annotated[int | None, typer.Option(min=1, help="At most so many generations at once.")] = None,
    video_seconds_per_day: Annotated[
        int | None, typer.Option(min=1, help="At most so many seconds of video in 24 hours.")
    ] = None,
    budget_per_day: Annotated[
        float | None, typer.Option(help="At most so much money in 24 hours, in the currency of CINELET_PRICES.")
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="Address that is told when what it makes has ended.")] = None,
) -> None:
    """Make a key and print its secret, which is shown this once."""
    from cinelet.config import Config
    from cinelet.jobs.keys import Role
    from cinelet.resilience.prices import PriceTable

    if role not in set(Role):
        raise ValidationError(f"There is no role {role!r:.60}; the roles are {', '.join(Role)}", {"role": "Unknown"})

    if webhook is not None:
        _require_address(webhook)

    prices = Config().price_table()

    async def created(keys: Keys) -> None:
        key, secret = await keys.create(
            name,
            owner=owner,
            role=Role(role),
            requests_per_minute=requests_per_minute,
            running=running,
            video_seconds_per_day=video_seconds_per_day,
            budget_per_day=budget_per_day,
            currency=prices.currency,
            webhook_url=webhook,
        )
        typer.echo(f"{key.id}: {key.role} for {key.owner}; keep the secret, it is not shown again", err=True)
        if budget_per_day is not None and prices == PriceTable():
            typer.echo("no price is known here (CINELET_PRICES), so whatever this key asks for is refused", err=True)
        typer.echo(secret)

    _with_keys(created)


@app.command("list")
def list_keys(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the keys, the newest first."""

    async def listed(keys: Keys) -> None:
        found = await keys.list()
        if as_json:
            typer.echo(json.dumps([dataclasses.asdict(key) for key in found], default=datetime.isoformat))
            return
        for key in found:
            typer.echo(_line(key))
        if not found:
            typer.echo("no keys", err=True)

    _with_keys(listed)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The key, such as key_...", metavar="ID")]) -> None:
    """End a key for good; within five seconds it opens nothing any more."""

    async def revoked(keys: Keys) -> None:
        key = await keys.revoke(key_id)
        if key is None:
            raise _no_such_key(key_id)
        typer.echo(f"{key.id} ({key.name}) is revoked")

    _with_keys(revoked)


@app.command()
def webhook(
    key_id: Annotated[str, typer.Argument(help="The key, such as key_...", metavar="ID")],
    url: Annotated[str | None, typer.Argument(help="Address that is told from now on.", show_default=False)] = None,
    *,
    clear: Annotated[bool, typer.Option("--clear", help="Tell nobody from now on.")] = False,
) -> None:
    """Say who is told when what a key makes has ended; holds for what is asked for from now on."""
    if (url is None) != clear:
        raise ValidationError("Give an address, or --clear for none", {"url": "Either an address or --clear"})
    if url is not None:
        _require_address(url)

    async def changed(keys: Keys) -> None:
        key = await keys.set_webhook(key_id, url)
        if key is None:
            raise _no_such_key(key_id)
        whom = "nobody is told" if url is None else "a webhook tells"
        typer.echo(f"{key.id} ({key.name}): {whom} of what it makes from now on")

    _with_keys(changed)


class _NoSuchKeyError(CineletError):
    code = "key_not_found"


def _no_such_key(key_id: str) -> _NoSuchKeyError:
    return _NoSuchKeyError(f"There is no key {key_id!r:.60}; cinelet keys list shows them")


def _require_address(url: str) -> None:
    """Raise `ValidationError` for what no webhook can be sent to."""
    from cinelet.config import Config
    from cinelet.jobs.webhook_address import webhook_address

    webhook_address(url, allow_private=Config().cinelet_webhook_allow_private)


def _with_keys(work: Callable[[Keys], Awaitable[_Result]]) -> _Result:
    import asyncio

    from cinelet.assembly import open_database
    from cinelet.jobs.keys import Keys

    async def done() -> _Result:
        async with await open_database() as database:
            return await work(Keys(database))

    return asyncio.run(done())


def _line(key: ApiKey) -> str:
    limits = [
        f"{limit} {what}"
        for limit, what in (
            (key.requests_per_minute, "requests/minute"),
            (key.running, "at once"),
            (key.video_seconds_per_day, "s of video/day"),
            (key.budget_per_day, f"{key.currency}/day"),
        )
        if limit is not None
    ]
    used = "never used" if key.last_used_at is None else f"used {_when(key.last_used_at)}"
    state = used if key.revoked_at is None else f"revoked {_when(key.revoked_at)}"
    told = [] if key.webhook_url is None else ["webhook"]
    what = ", ".join([state, *limits, *told])
    return f"{key.id}  {_when(key.created_at)}  {key.role:<8}  {key.name:<20.40}  {key.owner:<20.40}  {what}"


def _when(time: datetime) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M")
