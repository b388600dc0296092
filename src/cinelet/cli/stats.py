"""`cinelet stats`: how models did lately."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cinelet.api.stats_view import CountView, ModelStats, NextList, NextView, Spread, StatsView

_WIDE = 200
"""Columns where no terminal says how many it has: nothing of a name is cut off then."""
_ROOMY = 120
"""With fewer columns, who ran a model is told by its name alone."""


def stats(
    *,
    window: Annotated[str, typer.Option(help="Hours or days up to now: 1h, 24h, 7d; at most 30d.")] = "24h",
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Only this model; org/name for whoever runs it.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Only who ran it, such as fal-ai; local for this machine.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show how often models succeeded lately, how fast they were, what they cost, and what waits for them."""
    import asyncio
    import json

    from cinelet.api.stats_view import next_list, stats_view
    from cinelet.assembly import durable_jobs
    from cinelet.jobs.next_models import next_models
    from cinelet.jobs.statistics import statistics
    from cinelet.jobs.window import parse_window

    length = parse_window(window)

    async def asked() -> tuple[StatsView, NextList]:
        async with durable_jobs() as jobs:
            currency = jobs.queue.costs.currency
            found, following = await asyncio.gather(
                statistics(jobs.database, length, currency=currency, model=model, provider=provider),
                next_models(jobs.service),
            )
            return stats_view(found, window=window, owner=None, currency=currency), next_list(following)

    view, following = asyncio.run(asked())
    if as_json:
        typer.echo(json.dumps({**view.model_dump(), "next": following.model_dump()["data"]}))
        return
    _print(view)
    for one in following.data:
        typer.echo(f"next {one.task}: {_choice(one)}")


def _print(view: StatsView) -> None:
    import sys

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)
    if not view.models:
        typer.echo(
            f"no attempts at a model in {view.window}; every job that is made here counts (cinelet jobs)", err=True
        )
    else:
        console.print(_models(view, with_provider=console.width >= _ROOMY))
    if view.more_models:
        typer.echo(f"... and {view.more_models} more models; --model shows one", err=True)
    for one in view.models:
        if one.errors:
            codes = ", ".join(f"{error.count} {error.code}" for error in one.errors)
            console.print(f"{one.model}: {codes}", markup=False)
    for waiting in view.queue:
        share = f"{waiting.share:.0%} of all that waits and runs"
        console.print(f"{waiting.model}: {waiting.queued} wait, {waiting.in_progress} run now, {share}", markup=False)


def _models(view: StatsView, *, with_provider: bool) -> object:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, show_footer=len(view.models) > 1, pad_edge=False, show_edge=False, padding=(0, 1))
    total = _cells(view.total, view.currency)
    table.add_column("Model", footer=f"All in {view.window}", overflow="fold")
    if with_provider:
        table.add_column("At", footer="", overflow="fold")
    names = ("Attempts", "Success", "s/video s", "p95", "Wait", "p95", "Work", "Video", "Cost")
    for name, footer in zip(names, (*total[:6], "", *total[6:]), strict=True):
        table.add_column(name, footer=footer, justify="right", no_wrap=True)
    for one in view.models:
        cells = _cells(one, view.currency)
        row = [one.model, *([one.provider] if with_provider else []), *cells[:6], f"{one.work_share:.0%}", *cells[6:]]
        table.add_row(*map(Text, row), style=_style(one))
    return table


def _cells(count: CountView, currency: str) -> list[str]:
    from cinelet.domain.money import money

    success = "" if count.success_rate is None else f"{count.success_rate:.1%}"
    cost = "unknown" if count.cost is None else money(count.cost, currency)
    some = "+" if count.cost is not None and count.unpriced else ""
    return [
        f"{count.attempts:,}",
        success,
        *_spread(count.seconds_per_video_second),
        *_spread(count.queue_seconds),
        f"{count.video_seconds:,.0f} s",
        f"{cost}{some}",
    ]


def _spread(spread: Spread) -> list[str]:
    return ["" if seconds is None else f"{seconds:.3g}" for seconds in (spread.p50, spread.p95)]


def _choice(following: NextView) -> str:
    """Return what would be tried, and why, in one line."""
    if not following.order:
        return f"nothing; {following.why_not}"
    first, *others = following.order
    then = f"; then {', '.join(other.model for other in others)}" if others else ""
    out = "".join(f"; left out {one.model} ({one.reason})" for one in following.left_out)
    return f"{first.model} ({first.why}){then}{out}"


def _style(one: ModelStats) -> str:
    return "" if one.success_rate is None or one.success_rate >= 0.9 else "yellow" if one.success_rate >= 0.5 else "red"
