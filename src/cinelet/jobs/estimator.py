"""What the ledger knows about how long videos take, and how much waits before a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from psycopg import AsyncConnection

from cinelet.domain.errors import ValidationError
from cinelet.domain.model import ModelReference
from cinelet.jobs.database import Database
from cinelet.jobs.engine import STALLED_SECONDS
from cinelet.jobs.estimate import Estimate, Sample, Wanted, estimated

MAX_SAMPLES = 50
LOOKED_AT = 100
"""Completed generations in which samples are looked for; others were answered from the cache."""
LOOKED_AT_BY_NAME = 2000
"""The same, where a model is known by a name that says not who runs it."""
SAMPLES_OF_THE_QUEUE = 20
MAX_MODELS_OF_THE_QUEUE = 8
LOCAL_QUEUE = "local"

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
_WORKERS = (
    "SELECT FROM procrastinate_workers WHERE last_heartbeat > clock_timestamp() - make_interval(secs => %s) LIMIT 1"
)


class Estimator:
    """Asks the ledger. Whose generations they are does not matter: only how long they took is told."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def estimate(self, model: str, wanted: Wanted, *, loaded: bool | None = None) -> Estimate:
        """Return how long a video takes. model: as `VideoService.resolved` names it; loaded: None where unknown."""
        async with self._database.connection() as connection:
            return estimated(wanted, await _samples(connection, model), loaded=loaded)

    async def waiting(self, queue: str, *, priority: int = 0) -> float | None:
        """Return in how many seconds a new generation of a queue begins; None where nobody knows."""
        async with self._database.connection() as connection:
            if await (await connection.execute(_WORKERS, [STALLED_SECONDS])).fetchone() is None:
                return None
            rows = await (await connection.execute(_AHEAD, {"queue": queue, "priority": priority})).fetchall()
            queued, running = (
                sum(int(count) for _, state, count, _ in rows if state == wanted) for wanted in ("queued", "in_progress")
            )
            # Remote work is done side by side: where nothing waits, there was room for all.
            if not queued and (queue != LOCAL_QUEUE or not running):
                return 0.0
            seconds: dict[str, float] = {}
            for model, _, _, video_seconds in rows:
                seconds[model] = seconds.get(model, 0.0) + video_seconds
            if len(seconds) > MAX_MODELS_OF_THE_QUEUE:
                return None
            total = 0.0
            for model, video_seconds in seconds.items():
                samples = await _samples(connection, model, at_most=SAMPLES_OF_THE_QUEUE)
                if not samples:
                    return None
                total += video_seconds * median(sample.seconds_a_second for sample in samples)
        # As many at once as there are now.
        return total / max(1, running)


async def _samples(connection: AsyncConnection[Any], model: str, *, at_most: int = MAX_SAMPLES) -> Sequence[Sample]:
    """Return what the latest videos of a model took, the newest first."""
    values = {"model": model, "rows": min(LOOKED_AT, 2 * at_most), "among": LOOKED_AT_BY_NAME}
    found = await (await connection.execute(_BY_MODEL, values)).fetchall()
    if not found:
        rows = await (await connection.execute(_BY_NAME, values)).fetchall()
        found = [row for row in rows if _is_of(row[3], model)]
    samples = (_sample(request, result) for request, result, *_ in found)
    return [sample for sample in samples if sample is not None][:at_most]


def _sample(request: Mapping[str, Any], result: Mapping[str, Any]) -> Sample | None:
    try:
        return Sample.of(request, result)
    except (KeyError, TypeError, ValueError):
        return None  # an older version wrote it, or a plugin's backend with words of its own


def _is_of(made_by: str, asked_for: str) -> bool:
    """Tell whether a video was made by what was asked for, and not by what stood in for it."""
    try:
        return ModelReference.parse(made_by).name == ModelReference.parse(asked_for).name
    except ValidationError:
        return False
