"""How much waits and runs now, by queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cinelet.jobs.database import Database


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """How many generations of each queue there are. oldest_waits: seconds, of those that may begin."""

    queued: Mapping[str, int]
    in_progress: Mapping[str, int]
    oldest_waits: Mapping[str, float]

    @property
    def oldest_wait_seconds(self) -> float | None:
        """The longest wait of all; None where nothing that may begin waits."""
        return max(self.oldest_waits.values(), default=None)


async def queue_load(database: Database) -> QueueLoad:
    """Count what is not over yet, lines of batches that are still to become generations among it."""
    async with database.connection() as connection:
        rows = await connection.execute(
            "SELECT queue, state, count(*), extract(epoch FROM clock_timestamp() - min(since))::float FROM ("
            # What is delayed has not waited before it is due.
            " SELECT queue, state, CASE WHEN not_before IS NULL THEN created_at"
            "  WHEN not_before <= clock_timestamp() THEN greatest(created_at, not_before) END AS since"
            "  FROM generations WHERE state = 'queued'"
            " UNION ALL SELECT queue, state, NULL FROM generations WHERE state = 'in_progress'"
            " UNION ALL SELECT queue, 'queued', created_at FROM batch_requests"
            ") open GROUP BY queue, state"
        )
        found = await rows.fetchall()
    return QueueLoad(
        queued={queue: count for queue, state, count, _ in found if state == "queued"},
        in_progress={queue: count for queue, state, count, _ in found if state == "in_progress"},
        oldest_waits={queue: max(0.0, wait) for queue, _, _, wait in found if wait is not None},
    )
