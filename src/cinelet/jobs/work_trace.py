"""A worker's part of a trace: how long a generation has waited, and what one attempt at it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from cinelet.domain.errors import CineletError
from cinelet.jobs.database import Database
from cinelet.jobs.generation import Generation
from cinelet.observability.logs import bound
from cinelet.observability.tracing import Span, SpanKind, finished_span, span, written


@asynccontextmanager
async def attempt_traced(database: Database, claimed: Generation) -> AsyncIterator[None]:
    """Make the work of one attempt a part of the generation's trace, and of its log lines.

    Each attempt is a span of its own that goes on from the request, and refers to the attempt before: that one may have
    been lost with its worker, and then says nothing itself.
    """
    asked, began = claimed.traceparent, claimed.started_at
    facts = {"generation": claimed.id, "queue": claimed.queue, "requested_model": claimed.requested_model}
    if claimed.attempt == 1 and asked is not None and began is not None:
        finished_span("queue", parent=asked, start=claimed.created_at, end=began, **facts)
    more = {"attempt": claimed.attempt, "crashes": claimed.crashes}
    before = [claimed.attempt_traceparent]
    with (
        bound(generation=claimed.id),
        span("work", kind=SpanKind.CONSUMER, parent=asked, links=before, **facts, **more) as working,
    ):
        if working.is_recording():
            await _noted(database, claimed, working)
        yield


async def _noted(database: Database, claimed: Generation, working: Span) -> None:
    """Keep where this attempt is in the trace, for one that may come after it; nothing depends on it."""
    with suppress(CineletError):
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE generations SET attempt_traceparent = %s WHERE id = %s AND attempt = %s",
                [written(working), claimed.id, claimed.attempt],
            )
