"""`cinelet webhooks`: who was told of the end of a generation, and the secrets that sign it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cinelet.domain.errors import CineletError, ValidationError

if TYPE_CHECKING:
    from cinelet.jobs.database import Database
    from cinelet.jobs.deliveries import Delivery

app = typer.Typer(rich_markup_mode=None)

LOCAL_OWNER = "local"
Owner = Annotated[str, typer.Option(help="Whose secret: the owner of a key.")]
_Result = TypeVar("_Result")


@app.command()
def deliveries(
    *,
    state: Annotated[str | None, typer.Option(help="Only pending, delivered or failed.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only those of this owner.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List deliveries, the newest first: to whom, how often it was tried, and what became of it."""
    from cinelet.jobs.deliveries import Deliveries, DeliveryState

    if state is not None and state not in set(DeliveryState):
        message = f"There is no state {state!r:.60}; the states are {', '.join(DeliveryState)}"
        raise ValidationError(message, {"state": "Unknown"})

    async def listed(database: Database) -> None:
        wanted = None if state is None else DeliveryState(state)
        page = await Deliveries(database).list(owner=owner, state=wanted, limit=limit)
        if as_json:
            found = [dataclasses.asdict(delivery) for delivery in page.deliveries]
            typer.echo(json.dumps(found, default=datetime.isoformat))
            return
        for delivery in page.deliveries:
            typer.echo(_line(delivery))
        if page.next is not None:
            typer.echo(f"... and more; --limit {min(1000, 5 * limit)} shows more", err=True)
        if not page.deliveries:
            typer.echo("no deliveries", err=True)

    _with_database(listed)


@app.command()
def redeliver(
    delivery_id: Annotated[str, typer.Argument(help="The delivery, such as evt_...", metavar="ID")],
) -> None:
    """Deliver again, whatever became of it: at once, under the same webhook-id, with all its attempts."""
    from cinelet.jobs.deliveries import Deliveries

    async def repeated(database: Database) -> None:
        delivery = await Deliveries(database).redeliver(delivery_id)
        if delivery is None:
            raise _NoSuchDeliveryError(
                f"There is no delivery {delivery_id!r:.60}; cinelet webhooks deliveries shows them"
            )
        typer.echo(f"{delivery.id} is delivered again")

    _with_database(repeated)


@app.command()
def secret(*, owner: Owner = LOCAL_OWNER) -> None:
    """Print the secret that signs an owner's webhooks; it is made when it is first asked for."""
    from cinelet.jobs.webhook_secrets import WebhookSecrets

    async def shown(database: Database) -> None:
        await _require_owner(database, owner)
        typer.echo(await WebhookSecrets(database).current(owner))

    _with_database(shown)


@app.command()
def rotate(
    *,
    owner: Owner = LOCAL_OWNER,
    keep_hours: Annotated[float, typer.Option(min=0, max=8760, help="How long the secret before signs as well.")] = 24,
) -> None:
    """Make a new secret and print it; until the hours are over, each webhook has both signatures."""
    from cinelet.jobs.webhook_secrets import WebhookSecrets

    async def rotated(database: Database) -> None:
        await _require_owner(database, owner)
        typer.echo(await WebhookSecrets(database).rotate(owner, keep_seconds=keep_hours * 3600))
        typer.echo(f"the secret before it signs as well for {keep_hours:g} hours", err=True)

    _with_database(rotated)


async def _require_owner(database: Database, owner: str) -> None:
    """Raise `ValidationError` for an owner that no key has, revoked ones included: nothing is ever signed for it."""
    from cinelet.jobs.keys import Keys

    if owner != LOCAL_OWNER and owner not in {key.owner for key in await Keys(database).list()}:
        message = f"No key has the owner {owner!r:.60}; cinelet keys list shows the owners, beside {LOCAL_OWNER!r}"
        raise ValidationError(message, {"owner": "Unknown"})


class _NoSuchDeliveryError(CineletError):
    code = "delivery_not_found"


def _with_database(work: Callable[[Database], Awaitable[_Result]]) -> _Result:
    import asyncio

    from cinelet.assembly import open_database

    async def done() -> _Result:
        async with await open_database() as database:
            return await work(database)

    return asyncio.run(done())


def _line(delivery: Delivery) -> str:
    tried = f"{delivery.attempts} attempt{'' if delivery.attempts == 1 else 's'}"
    again = "" if delivery.next_at is None else f", next {_when(delivery.next_at)}"
    why = "" if delivery.last_error is None else f": {delivery.last_error}"
    where = f"{delivery.type:<15}  {delivery.url:.60}"
    return f"{delivery.id}  {_when(delivery.created_at)}  {delivery.state:<9}  {where}  {tried}{again}{why}"


def _when(time: datetime) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
