"""What an owner has in flight, and has asked for within a day."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import AsyncConnection

from cinelet.domain.request import VideoRequest
from cinelet.jobs.states import State

DAY_SECONDS = 86_400
LATELY, MODELS_LATELY = 200, 10
"""Generations of an owner that are looked at for the models that he uses, and how many of those are told."""
_UNFINISHED = [state.value for state in State if not state.final]


Limit = Literal["video_seconds", "cost"]
"""What there can be too much of in a day."""


@dataclass(frozen=True, slots=True)
class DayUsage:
    """What counts against a limit of 24 hours. fits_in_seconds: when that is no longer over the limit."""

    amount: float
    fits_in_seconds: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request asks for: a generation, or a batch of them. cost: what is reserved of a budget, if any."""

    generations: int
    video_seconds: float
    cost: float | None


def asked_seconds(request: Mapping[str, Any]) -> float:
    """Return how many seconds of video a stored request asks for."""
    return float(request.get("duration", VideoRequest.model_fields["duration"].default))


CHARGE = (
    "charged_seconds = coalesce(%(made_seconds)s, video_seconds), charged_cost = coalesce(%(real_cost)s, charged_cost)"
)
"""What an UPDATE sets when there is a video: what it is and costs, and what was reserved where nobody knows."""


def charge_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `CHARGE` is given."""
    return {"made_seconds": result.get("duration"), "real_cost": result.get("cost")}


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


_CHARGES = (
    "SELECT owner, created_at, coalesce(charged_seconds, video_seconds) AS video_seconds, charged_cost AS cost"
    " FROM generations WHERE owner = ANY(%(owners)s) AND created_at > clock_timestamp() - interval '1 day'"
    " UNION ALL SELECT owner, created_at, video_seconds, charged_cost FROM batch_requests"
    " WHERE owner = ANY(%(owners)s)"
    " UNION ALL SELECT owner, created_at, video_seconds, cost FROM deleted_charges"
    " WHERE owner = ANY(%(owners)s) AND created_at > clock_timestamp() - interval '1 day'"
)
"""What counts against the limits of 24 hours: what is reserved, and what was charged, from when it was accepted."""


@dataclass(frozen=True, slots=True)
class Used:
    """What was asked for within 24 hours, and what of it counts against limits."""

    generations: int = 0
    video_seconds: float = 0.0
    cost: float = 0.0


async def used_within_a_day(connection: AsyncConnection[Any], owners: Sequence[str]) -> dict[str, Used]:
    """Return what each of some owners has used, those left out that have asked for nothing."""
    rows = await connection.execute(
        "SELECT owner, count(*), coalesce(sum(video_seconds), 0)::float, coalesce(sum(cost), 0)::float"  # noqa: S608  (ours)
        f" FROM ({_CHARGES}) charges GROUP BY owner".encode(),
        {"owners": list(owners)},
    )
    return {owner: Used(count, seconds, cost) for owner, count, seconds, cost in await rows.fetchall()}


async def within_a_day(connection: AsyncConnection[Any], owner: str, what: Limit, *, limit: float) -> DayUsage:
    """Return what an owner has used in the last 24 hours, also where he deleted it."""
    rows = await connection.execute(
        # Of each, what remains when it and all that is older has left the day.
        f"WITH charges AS ({_CHARGES}), leaving AS (SELECT created_at, {what} AS amount,"  # noqa: S608  (ours)
        f" sum({what}) OVER () - sum({what}) OVER (ORDER BY created_at) AS remains FROM charges WHERE {what} > 0)"
        " SELECT coalesce(sum(amount), 0)::float, extract(epoch FROM"
        "  min(created_at) FILTER (WHERE remains <= %(limit)s) + interval '1 day' - clock_timestamp())::float"
        " FROM leaving".encode(),
        {"owners": [owner], "limit": limit},
    )
    amount, until = await rows.fetchone() or (0, None)
    return DayUsage(amount, DAY_SECONDS if until is None else max(1, math.ceil(until)))


async def models_used_lately(connection: AsyncConnection[Any], owner: str) -> Sequence[str]:
    """Return the models that an owner has asked for among his latest generations, the last one first."""
    rows = await connection.execute(
        "SELECT requested_model FROM (SELECT requested_model, created_at FROM generations"
        " WHERE owner = %s ORDER BY created_at DESC, id DESC LIMIT %s) latest"
        " GROUP BY requested_model ORDER BY max(created_at) DESC LIMIT %s",
        [owner, LATELY, MODELS_LATELY],
    )
    return [str(model) for (model,) in await rows.fetchall()]
