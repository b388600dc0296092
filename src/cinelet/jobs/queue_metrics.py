"""What the database says of queues and workers, as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from prometheus_client.metrics_core import Metric

from cinelet.jobs.database import Database
from cinelet.jobs.load import queue_load
from cinelet.jobs.roster import Roster
from cinelet.observability import metrics


async def queue_metrics(database: Database, *, queues: Sequence[str]) -> list[Metric]:
    """Count what waits and runs, and who works. queues: told also where there is nothing. Raises `DatabaseError`."""
    load = await queue_load(database)
    workers = Counter(queue for worker in await Roster(database).list() for queue in worker.report.queues)
    names = sorted({*queues, *load.queued, *load.in_progress, *workers})
    return [
        metrics.GENERATIONS.family(
            {
                (queue, state): counts.get(queue, 0)
                for queue in names
                for state, counts in (("queued", load.queued), ("in_progress", load.in_progress))
            }
        ),
        metrics.OLDEST_WAIT.family({(queue,): load.oldest_waits.get(queue, 0.0) for queue in names}),
        metrics.WORKERS.family({(queue,): workers[queue] for queue in names}),
    ]
