"""`cinelet models load`, `unload` and `loaded`: what the workers for local models have in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cinelet.cli import progress
from cinelet.domain.amount import amount
from cinelet.domain.errors import CineletError
from cinelet.domain.progress import Progress, Stage

if TYPE_CHECKING:
    from cinelet.domain.condition import Device, LoadedModel
    from cinelet.jobs.orders import Action, Order, Orders
    from cinelet.jobs.roster import KnownWorker

LOOK_SECONDS = 0.2
FAILED = 1

Model = Annotated[str, typer.Argument(help="A model that runs here, such as embedded.", show_default=False)]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return when the workers have been told.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds that a load may wait and download.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


def load(
    model: Model,
    *,
    no_wait: NoWait = False,
    timeout: Timeout = 3600.0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Have every running worker for local models load a model now; it stays until another needs its room."""
    return _ordered("load", model, timeout=timeout, waits=not no_wait, as_json=as_json, quiet=quiet)


def unload(model: Model, *, no_wait: NoWait = False, as_json: AsJson = False, quiet: Quiet = False) -> int:
    """Have every running worker for local models forget a model; one that runs goes after its run."""
    return _ordered("unload", model, timeout=3600.0, waits=not no_wait, as_json=as_json, quiet=quiet)


def loaded(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show what each running worker for local models has loaded, and the memory of its device and its process."""
    import asyncio
    import json

    from cinelet.api.admin_view import worker_view
    from cinelet.assembly import open_database
    from cinelet.jobs.errors import NoWorkerError
    from cinelet.jobs.orders import LOCAL_QUEUE
    from cinelet.jobs.roster import Roster

    async def known() -> Sequence[KnownWorker]:
        async with await open_database() as database:
            return await Roster(database).list()

    workers = [worker for worker in asyncio.run(known()) if LOCAL_QUEUE in worker.report.queues]
    if as_json:
        typer.echo(json.dumps([worker_view(worker).model_dump() for worker in workers]))
        return
    for worker in workers:
        report = worker.report
        process = f"process {amount(report.resident_bytes)}"
        typer.echo(f"{_place(worker.name)}  {_memory(report.condition.device)}, {process}")
        for one in report.condition.models:
            typer.echo(f"  {one.model}  {_model(one)}")
        if not report.condition.models:
            typer.echo("  nothing is loaded")
    if not workers:
        typer.echo(str(NoWorkerError()), err=True)


class _NoSuchOrderError(CineletError):
    code = "order_not_found"


def _ordered(action: Action, model: str, *, timeout: float, waits: bool, as_json: bool, quiet: bool) -> int:
    """Give an order and print what came of it; returns the exit code."""
    import asyncio
    import json

    from cinelet.api.order_view import order_view
    from cinelet.assembly import open_database, queue_of
    from cinelet.config import Config
    from cinelet.domain.model import ModelReference
    from cinelet.jobs.orders import Orders

    config = Config()

    async def done(listener: progress.Listener) -> Sequence[Order]:
        async with await open_database(config) as database:
            orders = Orders(database, queue_of=lambda text: queue_of(ModelReference.parse(text), config))
            rows = await orders.give(action, model, timeout_seconds=timeout)
            return await _ended(orders, rows, listener) if waits else rows

    with progress.shown(quiet=quiet or as_json) as listener:
        rows = asyncio.run(done(listener))
    if as_json:
        typer.echo(json.dumps(order_view(rows).model_dump()))
    elif not waits and not quiet:
        typer.echo(f"{rows[0].id}: {len(rows)} worker{'' if len(rows) == 1 else 's'} told")
    else:
        for row in rows:
            _tell(row, quiet=quiet)
    return FAILED if any(row.state == "failed" for row in rows) else 0


async def _ended(orders: Orders, rows: Sequence[Order], listener: progress.Listener) -> Sequence[Order]:
    """Wait until every worker has done what it was told, and show how far the last one is."""
    from cinelet.clock import SystemClock

    clock, order_id = SystemClock(), rows[0].id
    while not all(row.has_ended for row in rows):
        await clock.pause_async(LOOK_SECONDS)
        rows = await orders.get(order_id)
        if not rows:
            message = "The order is gone, as the database was started anew; cinelet models loaded shows what is loaded"
            raise _NoSuchOrderError(message)
        news = [_progress(row) for row in rows if row.state == "running" and row.stage is not None]
        if news:
            listener(min(news, key=lambda progress: progress.fraction))
    return rows


def _progress(row: Order) -> Progress:
    fraction = row.step / row.steps if row.steps else 0.0
    return Progress(Stage(str(row.stage)), fraction, row.step, row.steps, measured=bool(row.steps))


def _tell(row: Order, *, quiet: bool) -> None:
    """Print the line of a worker."""
    where = _place(row.worker)
    if row.error is not None:
        typer.echo(f"error: {where}: {' '.join(str(row.error['message']).split())}", err=True)
    elif not quiet and row.result is not None:
        if row.action == "unload":
            typer.echo(f"{'unloaded' if row.result['unloaded'] else 'was not loaded'} ({where})")
        else:
            size = row.result["bytes"]
            how_large = "" if size is None else f", {amount(size)}"
            typer.echo(f"loaded on {row.result['device']} ({where}) in {row.result['seconds']:.1f} s{how_large}")


def _place(worker: str) -> str:
    """Return the host and process of a worker's name."""
    return worker.rpartition(":")[0]


def _memory(device: Device) -> str:
    if device.name is None:
        return "no device used yet"
    parts = [device.name]
    if device.free_bytes is not None and device.total_bytes is not None:
        parts.append(f"{amount(device.free_bytes)} of {amount(device.total_bytes)} free")
    if device.reserved_bytes is not None:
        parts.append(f"{amount(device.reserved_bytes)} reserved")
    if device.allocated_bytes is not None:
        parts.append(f"{amount(device.allocated_bytes)} allocated")
    return ", ".join(parts)


def _model(model: LoadedModel) -> str:
    size = None if model.bytes is None else amount(model.bytes)
    estimated = None if model.estimated_bytes is None else f"(estimated {amount(model.estimated_bytes)})"
    words = " ".join(word for word in (size, estimated) if word)
    return ", ".join(part for part in (words, model.placement, model.device) if part)
