"""What an owner has in flight, and has asked for within a day."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from cinelet.domain.request import VideoRequest
from cinelet.jobs.states import State

DAY_SECONDS = 86_400
LATELY, MODELS_LATELY = 200, 10
"""Generations of an owner that are looked at for the models that he uses, and how many of those are told."""
_UNFINISHED = [state.value for state in State if not state.final]


@dataclass(frozen=True, slots=True)
class DayUsage:
    """Seconds of video that were asked for within 24 hours; fits_in_seconds: when that is no longer over the limit."""

    video_seconds: float
    fits_in_seconds: int


def asked_seconds(request: Mapping[str, Any]) -> float:
    """Return how many seconds of video a stored request asks for."""
    return float(request.get("duration", VideoRequest.model_fields["duration"].default))


async def lock_owner(connection: AsyncConnection[Any], owner: str) -> None:
    """Let nobody else count what this owner has, in whatever process, until the transaction of `connection` ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 2))", [owner])


async def unfinished(connection: AsyncConnection[Any], owner: str, *, at_most: int) -> int:
    """Return how many generations of an owner wait or run, counted up to `at_most`."""
    rows = await connection.execute(
        "SELECT count(*) FROM ("
        "SELECT FROM generations WHERE owner = %(owner)s AND state = ANY(%(unfinished)s)"
        # Lines of batches that are still to become generations.
        " UNION ALL SELECT FROM batch_requests WHERE owner = %(owner)s LIMIT %(at_most)s) counted",
        {"owner": owner, "unfinished": _UNFINISHED, "at_most": at_most},
    )
    found = await rows.fetchone()
    return int(found[0]) if found else 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for within 24 hours, whatever became of it."""

    generations: int = 0
    video_seconds: float = 0.0


async def asked_within_a_day(connection: AsyncConnection[Any], owners: Sequence[str]) -> dict[str, Asked]:
    """Return what each of some owners has asked for, those left out that have asked for nothing."""
    rows = await connection.execute(
        "SELECT owner, count(*), coalesce(sum(video_seconds), 0)::float FROM ("
        " SELECT owner, video_seconds FROM generations"
        "  WHERE owner = ANY(%(owners)s) AND created_at > clock_timestamp() - interval '1 day'"
        " UNION ALL SELECT owner, video_seconds FROM batch_requests WHERE owner = ANY(%(owners)s)"
        " UNION ALL SELECT owner, video_seconds FROM deleted_video_seconds"
        "  WHERE owner = ANY(%(owners)s) AND created_at > clock_timestamp() - interval '1 day'"
        ") asked GROUP BY owner",
        {"owners": list(owners)},
    )
    return {owner: Asked(count, seconds) for owner, count, seconds in await rows.fetchall()}


async def within_a_day(connection: AsyncConnection[Any], owner: str, *, limit: float) -> DayUsage:
    """Return what an owner has asked for in the last 24 hours, whatever became of it, also where he deleted it."""
    rows = await connection.execute(
        "WITH asked AS ("
        " SELECT created_at, video_seconds FROM generations"
        "  WHERE owner = %(owner)s AND created_at > clock_timestamp() - interval '1 day'"
        " UNION ALL SELECT created_at, video_seconds FROM batch_requests WHERE owner = %(owner)s"
        " UNION ALL SELECT created_at, video_seconds FROM deleted_video_seconds"
        "  WHERE owner = %(owner)s AND created_at > clock_timestamp() - interval '1 day'"
        # Of each, what remains when it and all that is older has left the day.
        "), leaving AS (SELECT created_at, video_seconds,"
        " sum(video_seconds) OVER () - sum(video_seconds) OVER (ORDER BY created_at) AS remains FROM asked)"
        " SELECT coalesce(sum(video_seconds), 0), extract(epoch FROM"
        "  min(created_at) FILTER (WHERE remains <= %(limit)s) + interval '1 day' - clock_timestamp())::float"
        " FROM leaving",
        {"owner": owner, "limit": limit},
    )
    seconds, until = await rows.fetchone() or (0, None)
    return DayUsage(float(seconds), DAY_SECONDS if until is None else max(1, math.ceil(until)))


async def models_used_lately(connection: AsyncConnection[Any], owner: str) -> Sequence[str]:
    """Return the models that an owner has asked for among his latest generations, the last one first."""
    rows = await connection.execute(
        "SELECT requested_model FROM (SELECT requested_model, created_at FROM generations"
        " WHERE owner = %s ORDER BY created_at DESC, id DESC LIMIT %s) latest"
        " GROUP BY requested_model ORDER BY max(created_at) DESC LIMIT %s",
        [owner, LATELY, MODELS_LATELY],
    )
    return [str(model) for (model,) in await rows.fetchall()]
