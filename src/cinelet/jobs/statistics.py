"""How models did lately: how often they succeeded, how fast, for how much, and what waits for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from cinelet.domain.model import ModelReference
from cinelet.domain.money import DECIMALS
from cinelet.jobs.database import Database
from cinelet.jobs.histogram import quantile
from cinelet.jobs.idempotency import is_storable
from cinelet.resilience.hosts import name_of

MAX_MODELS = 50
"""Users name models, so how many there are is theirs to choose."""
MAX_CODES = 10
SETTLE_SECONDS = 60.0
"""An end that took longer to be written than this, over the turn of an hour, is missing from statistics."""
KEPT = timedelta(days=31)
LOCAL = "local"
"""The provider of what runs on machines of ours."""


@dataclass(slots=True)
class Count:
    """Attempts at a model where it ran, or at all models. neither: of which the end says nothing about the model.

    work_seconds: of all. video_seconds: of those that succeeded. cost: of the `priced` ones. rates: by bucket, seconds
    for a second of video; waits: by bucket, seconds in the queue.
    """

    model: str = ""
    provider: str | None = None
    succeeded: int = 0
    failed: int = 0
    neither: int = 0
    work_seconds: float = 0.0
    video_seconds: float = 0.0
    cost: float = 0.0
    priced: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    rates: Counter[int] = field(default_factory=Counter)
    waits: Counter[int] = field(default_factory=Counter)

    @property
    def attempts(self) -> int:
        """How many there were."""
        return self.succeeded + self.failed + self.neither

    @property
    def success_rate(self) -> float | None:
        """The share that succeeded of those that say something about the model; None where there are none."""
        telling = self.succeeded + self.failed
        return self.succeeded / telling if telling else None

    @property
    def known_cost(self) -> float | None:
        """What those have cost whose cost is known; None where it is of none."""
        return round(self.cost, DECIMALS) if self.priced else None

    def rate(self, share: float) -> float | None:
        """Return the quantile of seconds for a second of video."""
        return quantile(self.rates, share)

    def wait(self, share: float) -> float | None:
        """Return the quantile of seconds in the queue."""
        return quantile(self.waits, share)

    def errors(self) -> list[tuple[str, int]]:
        """Return the most frequent codes of errors."""
        return self.codes.most_common(MAX_CODES)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits and runs now for a model, as it was asked for."""

    model: str
    queued: int
    in_progress: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """What became of a window. models: those with the most attempts; more_models: how many there are beside."""

    since: datetime
    until: datetime
    total: Count
    models: Sequence[Count]
    more_models: int
    waiting: Sequence[Waiting]


_WINDOW = (
    # Whole hours as they are written, and what lies before and after them as it is.
    "WITH bounds AS (SELECT clock_timestamp() - %(window)s AS since, clock_timestamp() AS now,"
    # It lies ahead where the clock was ahead when hours were written.
    " least((SELECT max(until) FROM outcome_hours_until), date_trunc('hour', clock_timestamp())) AS until),"
    " edges AS (SELECT since, now,"
    " least(date_trunc('hour', since) + interval '1 hour', greatest(until, since)) AS first_hour,"
    " greatest(until, since) AS until FROM bounds), facts AS NOT MATERIALIZED ("
    " SELECT outcome_hours.* FROM outcome_hours, edges WHERE hour >= first_hour AND hour < edges.until"
    " UNION ALL SELECT told.* FROM edges, outcomes_between(since, first_hour) told"
    " UNION ALL SELECT told.* FROM edges, outcomes_between(edges.until, 'infinity') told)"
)
_CHOSEN = (
    " WHERE (%(owner)s::text IS NULL OR owner = %(owner)s) AND (%(provider)s::text IS NULL OR provider = %(provider)s)"
    " AND (%(model)s::text IS NULL OR model = ANY(%(names)s) OR starts_with(model, %(prefix)s))"
)
_FACTS = (
    f"{_WINDOW} SELECT model, provider, what, code, bucket, sum(attempts)::bigint, sum(seconds), sum(video_seconds),"  # noqa: S608
    " coalesce(sum(cost) FILTER (WHERE currency = %(currency)s), 0),"
    " coalesce(sum(priced) FILTER (WHERE currency = %(currency)s), 0)::bigint"
    f" FROM facts{_CHOSEN} GROUP BY model, provider, what, code, bucket"
)
_OPEN = (
    "SELECT requested_model, count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'in_progress')"
    " FROM (SELECT owner, requested_model, state FROM generations WHERE state IN ('queued', 'in_progress')"
    " UNION ALL SELECT owner, requested_model, 'queued' FROM batch_requests) open"
    " WHERE (%(owner)s::text IS NULL OR owner = %(owner)s)"
    " GROUP BY requested_model ORDER BY count(*) DESC, requested_model LIMIT %(rows)s"
)


async def statistics(
    database: Database,
    window: timedelta,
    *,
    currency: str,
    owner: str | None = None,
    model: str | None = None,
    provider: str | None = None,
) -> Statistics:
    """Return what became of a window that ends now.

    owner: whose generations, None for everybody's. model: a reference; one that does not say who runs it stands for all
    that do. provider: `local` for machines of ours. currency: of costs; those in another one count as unknown. Raises
    `ValidationError` for what is no model reference.
    """
    values = {
        "window": window,
        "currency": currency,
        "owner": owner,
        "provider": "" if provider == LOCAL else provider,
        **_named(model),
    }
    storable = all(is_storable(text) for text in (owner, model, provider) if text)
    async with database.connection() as connection:
        now = await (await connection.execute("SELECT clock_timestamp()")).fetchone()
        assert now is not None  # noqa: S101  (a SELECT without FROM)
        rows = await (await connection.execute(_FACTS, values)).fetchall() if storable else []
        waiting = await _waiting(connection, owner=owner) if storable else []
    counts, total = _counted(rows)
    shown = sorted(counts, key=lambda count: (-count.attempts, count.model, count.provider or ""))
    return Statistics(now[0] - window, now[0], total, shown[:MAX_MODELS], max(0, len(shown) - MAX_MODELS), waiting)


def _named(model: str | None) -> dict[str, Any]:
    """Return what finds the outcomes of a model."""
    if model is None:
        return {"model": None, "names": [], "prefix": None}
    reference = ModelReference.parse(model)
    names, prefix = [name_of(reference)], None
    if reference.scheme in {"hub", "hf"} and reference.provider is None:
        names = [f"hf:{reference.name}", *([f"local:{reference.name}"] if reference.scheme == "hub" else [])]
        prefix = f"hf:{reference.name}:"
    return {"model": model, "names": names, "prefix": prefix}


async def write_hours(database: Database) -> int:
    """Write down the hours that are over, and return how many those were; any number of processes may do so."""
    written = 0
    while True:
        async with database.connection() as connection:
            done = await connection.execute("SELECT write_outcome_hours(%s, %s)", [SETTLE_SECONDS, KEPT])
            (hours,) = await done.fetchone() or (0,)
        written += hours
        if not hours:
            return written


async def _waiting(connection: AsyncConnection[Any], *, owner: str | None) -> list[Waiting]:
    rows = await connection.execute(_OPEN, {"owner": owner, "rows": MAX_MODELS})
    return [Waiting(*row) for row in await rows.fetchall()]


def _counted(rows: Sequence[Sequence[Any]]) -> tuple[list[Count], Count]:
    """Return the counts of each model where it ran, and of all together."""
    counts: dict[tuple[str, str], Count] = {}
    total = Count()
    for model, provider, what, code, bucket, attempts, seconds, video_seconds, cost, priced in rows:
        one = counts.setdefault((model, provider), Count(model, provider or None))
        for count in (one, total):
            match what:
                case "rate":
                    count.rates[bucket] += attempts
                case "queue":
                    count.waits[bucket] += attempts
                case _:
                    count.succeeded += attempts if what == "made" else 0
                    count.failed += attempts if what == "failed" else 0
                    count.neither += attempts if what == "neither" else 0
                    count.work_seconds += seconds
                    count.video_seconds += video_seconds
                    count.cost += cost
                    count.priced += priced
                    if what != "made":
                        count.codes[code or "unknown"] += attempts
    return list(counts.values()), total
