"""Queued generations that can be made in one run with another: of its model, and alike but for texts and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.rows import kwargs_row

from cinelet.domain.model import AUTO
from cinelet.domain.request import CHOICE_FIELDS
from cinelet.jobs.database import Database
from cinelet.jobs.generation import Generation
from cinelet.jobs.ledger import IMAGE_KEY
from cinelet.jobs.rows import RETURNING, generation_of

LOOKED_AT = 64
"""How many of the queue's first are looked at."""
_OWN = ("prompt", "negative_prompt", "seed", "cache", "fallback", "webhook_url", "remixed_from", *CHOICE_FIELDS)
"""What those of one run may differ in."""


def alike(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a stored request has in common with those that can be made with it; None where it is made alone."""
    if IMAGE_KEY in request or request.get("quality") == "exact":
        return None
    common = {name: value for name, value in request.items() if name not in _OWN}
    return {**common, "has_negative_prompt": request.get("negative_prompt") is not None}


async def claim_companions(
    database: Database, generation: Generation, *, worker: str, most: int
) -> Sequence[Generation]:
    """Claim up to `most` queued generations for the worker that has claimed `generation`, the next of the queue first.

    Nobody has been lost over any of them: of several that run together, one that kills its worker takes all with it.
    """
    common = alike(generation.request)
    # Each of those for "auto" may be made by another model.
    if most < 1 or common is None or generation.crashes or generation.requested_model == str(AUTO):
        return []
    async with database.connection() as connection, connection.transaction():
        found = await connection.execute(
            "SELECT job.id, generation.id, generation.request"
            " FROM procrastinate_jobs AS job"
            " JOIN generations AS generation ON generation.id = job.args ->> 'generation_id'"
            " WHERE job.status = 'todo' AND job.queue_name = %(queue)s"
            " AND (job.scheduled_at IS NULL OR job.scheduled_at <= clock_timestamp())"
            " AND generation.state = 'queued' AND generation.requested_model = %(model)s"
            " AND generation.crashes = 0 AND NOT generation.cancel_requested"
            " ORDER BY job.priority DESC, job.id LIMIT %(looked_at)s FOR UPDATE OF job, generation SKIP LOCKED",
            {"queue": generation.queue, "model": generation.requested_model, "looked_at": LOOKED_AT},
        )
        chosen = [(job, other) for job, other, request in await found.fetchall() if alike(request) == common][:most]
        if not chosen:
            return []
        # As if this worker had been given their jobs: they are looked for elsewhere when it is lost.
        await connection.execute(
            "UPDATE procrastinate_jobs SET status = 'doing', fetched_at = clock_timestamp(), worker_id = ("
            " SELECT worker_id FROM procrastinate_jobs WHERE args ->> 'generation_id' = %(first)s AND status = 'doing'"
            " LIMIT 1) WHERE id = ANY(%(jobs)s)",
            {"first": generation.id, "jobs": [job for job, _ in chosen]},
        )
        claimed = await connection.cursor(row_factory=kwargs_row(generation_of)).execute(
            "UPDATE generations SET state = 'in_progress', worker = %(worker)s, attempt = attempt + 1,"  # noqa: S608
            " stage = NULL, step = 0, steps = 0, note = '', eta_seconds = NULL,"
            f" started_at = coalesce(started_at, clock_timestamp()) WHERE id = ANY(%(ids)s){RETURNING}".encode(),
            {"worker": worker, "ids": [other for _, other in chosen]},
        )
        rows = await claimed.fetchall()
    order = {other: number for number, (_, other) in enumerate(chosen)}
    return sorted(rows, key=lambda row: order[row.id])
