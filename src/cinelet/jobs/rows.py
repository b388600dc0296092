"""Rows of the ledger and statements about them, built once: to build one takes longer than to send it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import kwargs_row
from psycopg.sql import Composed
from psycopg.types.json import Json

from cinelet.domain.progress import Stage
from cinelet.jobs.generation import Generation
from cinelet.jobs.states import State

COLUMNS = ", ".join(f'"{column.name}"' for column in fields(Generation))
RETURNING = f" RETURNING {COLUMNS}"
_INSERTED = (
    "id", "owner", "request", "requested_model", "queue", "priority", "not_before", "cache_key", "handle", "image_key",
    "video_seconds", "charged_cost", "idempotency_key", "request_hash", "webhook_url", "traceparent",
)  # fmt: skip
INSERT = (
    f"WITH made AS (INSERT INTO generations ({', '.join(_INSERTED)})"  # noqa: S608  (of names of ours)
    f" VALUES ({', '.join(f'%({name})s' for name in _INSERTED)})"
    f" ON CONFLICT (owner, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING{RETURNING}),"
    " searched AS (INSERT INTO generation_texts (created_at, generation_id, owner, folded)"
    " SELECT created_at, id, owner, %(folded)s FROM made WHERE %(folded)s::text IS NOT NULL)"
    f" SELECT {COLUMNS} FROM made"
)

CANCEL = (
    "cancel_requested = true,"
    # What waits with a handle runs at a provider, where only a worker can cancel it.
    " state = CASE WHEN state = 'queued' AND handle IS NULL THEN 'cancelled' ELSE state END,"
    " finished_at = CASE WHEN state = 'queued' AND handle IS NULL THEN clock_timestamp() END"
)
"""What an UPDATE sets to ask for a stop, of what has not ended."""


ELSEWHERE = [Stage.QUEUED.value, Stage.DENOISING.value]
"""Stages in which, with a handle, only a provider works; `CLAIM` is given them, and who claims as `worker`."""
CLAIM = (
    "UPDATE generations SET state = 'in_progress', worker = %(worker)s, attempt = attempt + 1,"
    " crashes = crashes + (state = 'in_progress'"
    " AND NOT (handle IS NOT NULL AND handle ->> 'aside' IS NULL"
    " AND coalesce(stage = ANY(%(elsewhere)s), true)))::int,"
    " stage = NULL, step = 0, steps = 0, note = '', eta_seconds = NULL,"
    " started_at = coalesce(started_at, clock_timestamp())"
)


def claimable(lost_attempt: str) -> str:
    """Return the condition of what may be claimed. lost_attempt: an SQL expression."""
    return (
        f"(state = 'queued' OR (state = 'in_progress' AND attempt = {lost_attempt}))"
        " AND (not_before IS NULL OR not_before <= clock_timestamp())"
    )


async def one(
    connection: AsyncConnection[Any], statement: str | Composed, values: Mapping[str, Any]
) -> Generation | None:
    """Run a statement that gives a generation, or none. It is ours: nothing of a caller's is in its text."""
    cursor = connection.cursor(row_factory=kwargs_row(generation_of))
    query = statement.encode() if isinstance(statement, str) else statement
    return await (await cursor.execute(query, values)).fetchone()


def generation_of(*, state: str, **columns: Any) -> Generation:
    """Return the generation of a row."""
    return Generation(state=State(state), **columns)


def as_json(values: Any) -> Json | None:
    """Return JSON values for the database; NaN and bytes are errors of the caller."""
    return None if values is None else Json(values, dumps=_dumps)


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
