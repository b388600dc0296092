"""How attempts at models ended: written with the end of their generation, and what is learned of the models with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cinelet.domain.errors import ValidationError
from cinelet.domain.model import ModelReference
from cinelet.domain.result import Attempt
from cinelet.domain.video import VideoResult
from cinelet.jobs.database import Database
from cinelet.resilience.billing import priced
from cinelet.resilience.hosts import host_of, name_of
from cinelet.resilience.performance import Memory, Trial, trials
from cinelet.resilience.prices import PriceTable

KEPT_DAYS = 30
FORGOTTEN_AT_ONCE = 5000
"""Rows that one statement removes: a month of a busy service at once would keep others waiting."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended. succeeded: None where that says nothing about the model.

    model: the way that ran, without what may be secret in an address. provider: who ran it, None for a machine of ours.
    """

    model: str
    provider: str | None
    succeeded: bool | None
    code: str | None
    seconds: float
    video_seconds: float | None = None
    cost: float | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """The attempts of a generation, in their order: as JSON values, and as outcomes of models where they are such."""

    attempts: Sequence[Mapping[str, Any]] = ()
    outcomes: Sequence[Outcome] = ()
    task: str = ""
    memory: Memory = field(default_factory=Memory)

    def trials(self) -> Mapping[str, Trial]:
        """Return what is to be learned, by model."""
        return trials((one.model, one.succeeded, one.seconds, one.video_seconds) for one in self.outcomes)

    @property
    def values(self) -> dict[str, Any]:
        """What `ALSO` is given."""
        # In one order for all: two generations that end at once never wait for each other.
        learned = sorted(self.trials().items())
        return {
            "task": self.task,
            "half_life_seconds": self.memory.half_life_seconds,
            "remembered": self.memory.outcomes,
            "tried": [attempt.model for attempt in self.outcomes],
            "providers": [attempt.provider for attempt in self.outcomes],
            "succeeded": [attempt.succeeded for attempt in self.outcomes],
            "codes": [attempt.code for attempt in self.outcomes],
            "seconds": [attempt.seconds for attempt in self.outcomes],
            "video_seconds": [attempt.video_seconds for attempt in self.outcomes],
            "costs": [attempt.cost for attempt in self.outcomes],
            "currencies": [attempt.currency for attempt in self.outcomes],
            "learned": [model for model, _ in learned],
            "worked": [trial.succeeded for _, trial in learned],
            "log_rates": [trial.log_rate if trial.succeeded else 0.0 for _, trial in learned],
            "failed_seconds": [0.0 if trial.succeeded else trial.seconds for _, trial in learned],
        }


NOTHING_TRIED = Tried()


@dataclass(frozen=True, slots=True)
class Recorder:
    """Turns what became of a generation into outcomes."""

    memory: Memory = field(default_factory=Memory)

    def made(self, result: VideoResult) -> Tried:
        """Return what was tried for a video. Attempts at one from the cache were another generation's outcomes."""
        is_outcome = result.cache in {"made", "off"}
        seconds, currency = result.facts.duration, result.currency
        outcomes = [
            _outcome(attempt, currency=currency, video_seconds=seconds) for attempt in result.attempts if is_outcome
        ]
        return Tried([attempt.to_dict() for attempt in result.attempts], outcomes, result.request.task, self.memory)

    def failed(self, request: Mapping[str, Any], attempts: Sequence[Attempt], prices: PriceTable) -> Tried:
        """Return what was tried in vain. request: as the ledger keeps it."""
        tried = priced(attempts, prices)
        outcomes = [_outcome(attempt, currency=prices.currency) for attempt in tried]
        return Tried([attempt.to_dict() for attempt in tried], outcomes, str(request.get("task", "")), self.memory)


def _outcome(attempt: Attempt, *, currency: str | None, video_seconds: float | None = None) -> Outcome:
    succeeded = attempt.error is None
    return Outcome(
        *_model_and_host(attempt.model),
        succeeded if attempt.telling else None,
        None if attempt.error is None else _storable(str(attempt.error["code"])),
        attempt.seconds,
        video_seconds if succeeded else None,
        attempt.cost,
        None if attempt.cost is None else currency,
    )


def _model_and_host(reference: str) -> tuple[str, str | None]:
    try:
        model = ModelReference.parse(reference)
    except ValidationError:  # a plugin's backend with names of its own; its video must not be lost over one
        return _storable(reference), None
    return name_of(model), host_of(model)


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "")


_KEPT = (
    "power(0.5, least(greatest(extract(epoch FROM clock_timestamp() - known.updated_at)::float, 0)"
    " / %(half_life_seconds)s, 100)) * (1 - 1 / %(remembered)s::float)"
)
_WORKED, _FAILED = f"(known.successes * {_KEPT} + 1)", f"(known.failures * {_KEPT} + 1)"
_DIFFERENCE = "(EXCLUDED.log_rate - known.log_rate)"


def _rounded(expression: str) -> str:
    """Return a number that is 0 before it is so small that the server refuses to multiply it."""
    return f"round(({expression})::numeric, 12)::float"


ALSO = (
    ", told AS (INSERT INTO outcomes (generation_id, owner, requested_model, model, provider, task, succeeded, code,"  # noqa: S608  (ours)
    " seconds, queue_seconds, video_seconds, cost, currency)"
    " SELECT written.id, written.owner, written.requested_model, tried.model, tried.provider, %(task)s,"
    " tried.succeeded, tried.code, tried.seconds, CASE WHEN tried.number = 1 THEN greatest(0, extract(epoch FROM"
    " written.started_at - greatest(written.created_at, written.not_before))::float) END,"
    " tried.video_seconds, tried.cost, tried.currency"
    " FROM written, unnest(%(tried)s::text[], %(providers)s::text[], %(succeeded)s::boolean[], %(codes)s::text[],"
    " %(seconds)s::float[], %(video_seconds)s::float[], %(costs)s::float[], %(currencies)s::text[])"
    " WITH ORDINALITY AS tried (model, provider, succeeded, code, seconds, video_seconds, cost, currency, number)"
    "), learned AS (INSERT INTO performance AS known"
    " (model, task, successes, failures, log_rate, log_variance, failed_seconds, samples, updated_at)"
    " SELECT learned.model, %(task)s, learned.worked::int, (NOT learned.worked)::int, learned.log_rate, 0,"
    " learned.failed_seconds, 1, clock_timestamp()"
    " FROM written, unnest(%(learned)s::text[], %(worked)s::boolean[], %(log_rates)s::float[],"
    " %(failed_seconds)s::float[]) AS learned (model, worked, log_rate, failed_seconds)"
    " ON CONFLICT (model, task) DO UPDATE SET"
    f" successes = {_rounded(f'known.successes * {_KEPT} + EXCLUDED.successes')},"
    f" failures = {_rounded(f'known.failures * {_KEPT} + EXCLUDED.failures')},"
    " log_rate = CASE WHEN EXCLUDED.successes = 0 THEN known.log_rate"
    f" ELSE {_rounded(f'known.log_rate + {_DIFFERENCE} / {_WORKED}')} END,"
    " log_variance = CASE WHEN EXCLUDED.successes = 0 THEN known.log_variance ELSE"
    f" {_rounded(f'(1 - 1 / {_WORKED}) * (known.log_variance + {_DIFFERENCE} * {_DIFFERENCE} / {_WORKED})')} END,"
    " failed_seconds = CASE WHEN EXCLUDED.failures = 0 THEN known.failed_seconds ELSE"
    f" {_rounded(f'known.failed_seconds + (EXCLUDED.failed_seconds - known.failed_seconds) / {_FAILED}')} END,"
    " samples = known.samples + 1, updated_at = EXCLUDED.updated_at)"
)
"""A part of the statement that ends a generation, which it knows as `written`."""


_OLD = "< clock_timestamp() - make_interval(days => %(days)s)"
_FORGET_OUTCOMES = (
    f"DELETE FROM outcomes WHERE id IN (SELECT id FROM outcomes WHERE at {_OLD} ORDER BY at LIMIT %(rows)s)"  # noqa: S608
)
_FORGET_PERFORMANCE = (
    "DELETE FROM performance WHERE (model, task) IN ("  # noqa: S608
    f"SELECT model, task FROM performance WHERE updated_at {_OLD} LIMIT %(rows)s FOR UPDATE SKIP LOCKED)"
)


async def forget_outcomes(database: Database) -> int:
    """Remove what is older than a month, and what is known of models that nobody used since; returns how many rows."""
    forgotten = 0
    for statement in (_FORGET_OUTCOMES, _FORGET_PERFORMANCE):
        removed = FORGOTTEN_AT_ONCE
        while removed == FORGOTTEN_AT_ONCE:
            async with database.connection() as connection:
                done = await connection.execute(statement.encode(), {"days": KEPT_DAYS, "rows": FORGOTTEN_AT_ONCE})
            removed = done.rowcount
            forgotten += removed
    return forgotten
