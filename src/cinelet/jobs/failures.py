"""What failed lately, alike with alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cinelet.jobs.database import Database

MAX_KINDS = 100
"""Users name models, so how many kinds there are is theirs to choose."""


@dataclass(frozen=True, slots=True)
class FailureKind:
    """Generations that failed with the same code on the same model. message, generation_id: of the last one."""

    code: str
    model: str
    count: int
    last_at: datetime
    message: str
    generation_id: str


async def failures(database: Database, *, hours: float) -> Sequence[FailureKind]:
    """Return what failed within the last hours, the most frequent first."""
    async with database.connection() as connection:
        rows = await connection.execute(
            "SELECT * FROM (SELECT DISTINCT ON (code, model) code, model,"
            " count(*) OVER (PARTITION BY code, model) AS count, finished_at, error, id FROM ("
            # The code as our own JSON has it. SQL's operators fail on a NUL or half a character anywhere in the error.
            """ SELECT coalesce(substring(error::text FROM '"code": "([^"\\\\]*)"'), 'unknown') AS code,"""
            "  coalesce(model, requested_model) AS model, finished_at, error, id FROM generations"
            "  WHERE state = 'failed' AND finished_at > clock_timestamp() - make_interval(secs => %s)"
            ") failed ORDER BY code, model, finished_at DESC) kinds ORDER BY count DESC, finished_at DESC LIMIT %s",
            [hours * 3600, MAX_KINDS],
        )
        found = await rows.fetchall()
    return [
        FailureKind(code, model, count, last_at, _readable(error.get("message", "")), generation_id)
        for code, model, count, last_at, error, generation_id in found
    ]


def _readable(message: object) -> str:
    """Return a text that can be written as UTF-8; half characters may come from a provider."""
    return str(message).encode("utf-8", "replace").decode()
