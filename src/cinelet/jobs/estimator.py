"""What the ledger knows about how long videos take, and how much waits before a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from psycopg import AsyncConnection

from cinelet.domain.errors import ValidationError
from cinelet.domain.model import AUTO, ModelReference
from cinelet.jobs.database import Database
from cinelet.jobs.estimate import Estimate, Sample, Wanted, estimated
from cinelet.jobs.roster import KnownWorker

MAX_SAMPLES = 50
LOOKED_AT = 100
"""Completed generations in which samples are looked for; others were answered from the cache."""
LOOKED_AT_BY_NAME = 2000
"""The same, where a model is known by a name that says not who runs it."""
SAMPLES_OF_THE_QUEUE = 20
MAX_MODELS_OF_THE_QUEUE = 8

# Whole results: SQL cannot look into one whose prompt holds a NUL.
_BY_MODEL = (
    "SELECT request, result, requested_model, model FROM generations"
    " WHERE coalesce(model, requested_model) = %(model)s AND state = 'completed'"
    " ORDER BY created_at DESC, id DESC LIMIT %(rows)s"
)
_BY_NAME = (
    "SELECT request, result, requested_model, model FROM (SELECT * FROM generations WHERE state = 'completed'"
    " ORDER BY created_at DESC, id DESC LIMIT %(among)s) newest"
    " WHERE requested_model = %(model)s ORDER BY created_at DESC, id DESC LIMIT %(rows)s"
)
_AHEAD = (
    "SELECT requested_model, state, count(*), sum(coalesce(video_seconds, 6) * (1 - progress)) FROM generations"
    " WHERE queue = %(queue)s AND (state = 'in_progress' OR (state = 'queued' AND priority >= %(priority)s"
    " AND follows IS NULL AND (not_before IS NULL OR not_before <= clock_timestamp())))"
    " AND state IN ('queued', 'in_progress') GROUP BY requested_model, state"
)


class Estimator:
    """Asks the ledger. Whose generations they are does not matter: only how long they took is told.

    workers: those that were heard of lately.
    """

    def __init__(self, database: Database, workers: Sequence[KnownWorker]) -> None:
        self._database = database
        self._workers = workers

    async def estimate(self, model: str, wanted: Wanted) -> Estimate:
        """Return how long a video takes. model: as `VideoService.resolved` names it."""
        async with self._database.connection() as connection:
            return estimated(wanted, await latest_samples(connection, model), loaded=self._loaded(model))

    async def waiting(self, queue: str, *, priority: int = 0) -> float | None:
        """Return in how many seconds a new generation of a queue begins; None where nobody knows."""
        at_once = sum(worker.report.queues.get(queue, 0) for worker in self._workers)
        if not at_once:
            return None
        async with self._database.connection() as connection:
            rows = await (await connection.execute(_AHEAD, {"queue": queue, "priority": priority})).fetchall()
            if sum(int(count) for _, _, count, _ in rows) < at_once:
                return 0.0
            seconds: dict[str, float] = {}
            for model, _, _, video_seconds in rows:
                seconds[model] = seconds.get(model, 0.0) + video_seconds
            if len(seconds) > MAX_MODELS_OF_THE_QUEUE:
                return None
            total = 0.0
            for model, video_seconds in seconds.items():
                samples = await latest_samples(connection, model, at_most=SAMPLES_OF_THE_QUEUE)
                if not samples:
                    return None
                total += video_seconds * median(sample.seconds_a_second for sample in samples)
        return total / at_once

    def _loaded(self, model: str) -> bool | None:
        """Tell whether a worker has the model ready; None where there is no worker to ask."""
        if not self._workers:
            return None
        ready = (one.model for worker in self._workers for one in worker.report.condition.models)
        return any(_name(one) == _name(model) for one in ready)


async def latest_samples(
    connection: AsyncConnection[Any], model: str, *, at_most: int = MAX_SAMPLES
) -> Sequence[Sample]:
    """Return what the latest videos of a model took, the newest first."""
    values = {"model": model, "rows": min(LOOKED_AT, 2 * at_most), "among": LOOKED_AT_BY_NAME}
    found = await (await connection.execute(_BY_MODEL, values)).fetchall()
    if not found:
        rows = await (await connection.execute(_BY_NAME, values)).fetchall()
        # Not by what stood in for it; whatever "auto" became was what it stood for.
        found = [row for row in rows if model == str(AUTO) or _name(row[3]) == _name(model)]
    samples = (_sample(request, result) for request, result, *_ in found)
    return [sample for sample in samples if sample is not None][:at_most]


def _sample(request: Mapping[str, Any], result: Mapping[str, Any]) -> Sample | None:
    try:
        return Sample.of(request, result)
    except (KeyError, TypeError, ValueError):
        return None  # an older version wrote it, or a plugin's backend with words of its own


def _name(reference: str) -> str:
    """Return what a reference names, whoever runs it."""
    try:
        return ModelReference.parse(reference).name
    except ValidationError:
        return reference
