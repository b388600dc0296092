"""What each worker looks after for all: the work of lost ones, and what nobody needs any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cinelet.jobs.claims import CLAIMS_OF
from cinelet.jobs.database import Database
from cinelet.jobs.engine import STALLED_SECONDS
from cinelet.jobs.events import forget_old
from cinelet.jobs.outcomes import forget_outcomes
from cinelet.jobs.roster import WorkerReport, parameters
from cinelet.jobs.statistics import write_hours

LOST_DELIVERY_SECONDS = 30.0
"""No attempt at a delivery takes so long."""


class Swept(NamedTuple):
    """requeued: how many generations of lost workers; claims: what the ledger has as this worker's, as `CLAIMS_OF`."""

    requeued: int
    claims: Sequence[tuple[str, int, bool]]


async def sweep(database: Database, *, worker: str, report: WorkerReport, look_at_all: bool) -> Swept:
    """Queue again what lost workers had, and keep this worker's report, in one round trip.

    look_at_all: at every generation, not only at those of workers that are gone.
    """
    async with database.connection() as connection:
        found = await connection.execute(
            f"SELECT requeue_lost(%s, %s), {CLAIMS_OF},"
            " requeue_lost_deliveries(%s), report_worker(%s, %s, %s)".encode(),
            [STALLED_SECONDS, look_at_all, worker, LOST_DELIVERY_SECONDS, *parameters(worker, report)],
        )
        requeued, claims, *_ = await found.fetchone() or (0, [])
    return Swept(requeued, claims)


async def tidy(database: Database) -> None:
    """Forget what is old."""
    await forget_old(database)
    await forget_outcomes(database)
    await write_hours(database)
