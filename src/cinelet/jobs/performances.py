"""What all workers have learned of models, read from the database that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cinelet.clock import Clock, SystemClock
from cinelet.domain.errors import CineletError
from cinelet.jobs.database import Database
from cinelet.observability.logs import get_logger
from cinelet.resilience.performance import Performance, Trial

MOST_MODELS = 1000
FRESH_SECONDS = 1.0
"""How old what was read may be: a burst of requests asks once."""
_logger = get_logger(__name__)


class SharedKnowledge:
    """Reads the table, at most once a second for each task. Outcomes are written with the ends of generations."""

    def __init__(self, database: Database, *, clock: Clock | None = None) -> None:
        self._database = database
        self._clock: Clock = clock or SystemClock()
        self._read: dict[tuple[str, frozenset[str]], tuple[float, Mapping[str, Performance]]] = {}

    async def known(self, models: Sequence[str], task: str) -> Mapping[str, Performance]:
        """Return what is known; nothing while the database is away, as a video can be made without."""
        key, now = (task, frozenset(models)), self._clock.monotonic()
        at, found = self._read.get(key, (-FRESH_SECONDS - 1, {}))
        if now - at <= FRESH_SECONDS:
            return found
        try:
            found = await self._found(models, task)
        except CineletError as error:
            _logger.info("What is known of models cannot be read now", extra={"code": error.code})
            return found
        if len(self._read) >= MOST_MODELS:
            self._read.clear()
        self._read[key] = (now, found)
        return found

    def learn(self, model: str, task: str, trial: Trial) -> None:
        """Do nothing: the ledger is told."""

    async def _found(self, models: Sequence[str], task: str) -> Mapping[str, Performance]:
        async with self._database.connection() as connection:
            rows = await connection.execute(
                "SELECT model, successes, failures, log_rate, log_variance, failed_seconds, samples,"
                # By the database's clock, which wrote them: those of workers may differ.
                " greatest(extract(epoch FROM clock_timestamp() - updated_at)::float, 0)"
                " FROM performance WHERE task = %s AND model = ANY(%s)",
                [task, list(models)],
            )
            found = await rows.fetchall()
        now = self._clock.monotonic()
        return {model: replace(Performance(*known), at=now - age) for model, *known, age in found}
