"""`/v1/stats`: how models did lately."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from cinelet.api.access import caller_of
from cinelet.api.state import Jobs, Who
from cinelet.api.stats_view import NextList, StatsView, next_list, stats_view
from cinelet.domain.model import MAX_REFERENCE_CHARACTERS
from cinelet.jobs.next_models import next_models
from cinelet.jobs.statistics import statistics
from cinelet.jobs.window import DEFAULT, parse_window

router = APIRouter(prefix="/v1/stats", tags=["statistics"])


@router.get("")
async def show_stats(
    jobs: Jobs,
    caller: Who,
    window: Annotated[str, Query(max_length=20)] = DEFAULT,
    model: Annotated[str | None, Query(min_length=1, max_length=MAX_REFERENCE_CHARACTERS)] = None,
    provider: Annotated[str | None, Query(min_length=1, max_length=300)] = None,
) -> StatsView:
    """Say how often models succeeded, how fast they were, what they cost, and what waits for them.

    window: hours or days up to now, such as 1h, 24h or 7d, at most 30d. model: without who runs it, of all that do.
    provider: who ran it; `local` for machines of this service.
    """
    currency = jobs.queue.costs.currency
    found = await statistics(
        jobs.database, parse_window(window), currency=currency, owner=caller.sees, model=model, provider=provider
    )
    return stats_view(found, window=window, owner=caller.sees, currency=currency)


@router.get("/next", dependencies=[Depends(caller_of)])
async def show_next(jobs: Jobs) -> NextList:
    """Say which models would be tried for the next request for `auto`, in which order, and why. Nothing is made."""
    return next_list(await next_models(jobs.service))
