"""Deliveries of webhooks: what is to be told to whom, how often that was tried, and when it is tried again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from psycopg.rows import kwargs_row
from psycopg.sql import SQL, Identifier

from cinelet.jobs.database import Database
from cinelet.jobs.generation import Position

_ID = re.compile(r"evt_[a-z2-7]{26}")


class DeliveryState(StrEnum):
    """What became of a delivery so far."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one receiver. id: the webhook-id, the same at each attempt; that of the generation, as an event.

    attempts: how many have begun since it was last asked for. next_at: of the next one. last_status: the receiver's,
    None where it gave none; last_error: None where that was a success.
    """

    id: str
    generation_id: str
    owner: str
    url: str = field(repr=False)
    type: str
    state: DeliveryState
    attempts: int
    next_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime
    first_attempt_at: datetime | None
    last_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """A part of a list, the newest first. next: where the next page begins after, None on the last one."""

    deliveries: tuple[Delivery, ...]
    next: Position | None


_COLUMNS = SQL(", ").join(Identifier(column.name) for column in fields(Delivery))
_ONE_OF_OWNER = SQL(" WHERE id = %(id)s AND owner = coalesce(%(owner)s, owner)")


class Deliveries:
    """The table of deliveries. The end of a generation adds to it, in the same transaction, and enqueues."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, delivery_id: str) -> Delivery | None:
        """Count an attempt and return its delivery; None where nothing is to be delivered any more."""
        return await self._one(
            SQL(
                "UPDATE webhook_deliveries SET attempts = attempts + 1, last_attempt_at = clock_timestamp(),"
                " first_attempt_at = coalesce(first_attempt_at, clock_timestamp())"
                " WHERE id = %(id)s AND state = 'pending'"
            ),
            id=delivery_id,
        )

    async def end(
        self,
        delivery: Delivery,
        *,
        state: DeliveryState,
        status: int | None,
        error: str | None,
        pause_seconds: float | None = None,
    ) -> bool:
        """Note what became of an attempt; False where a later one has begun. pause_seconds: until the next one."""
        ended = await self._one(
            SQL(
                "UPDATE webhook_deliveries SET state = %(state)s, last_status = %(status)s, last_error = %(error)s,"
                " next_at = clock_timestamp() + make_interval(secs => %(pause)s::float)"
                " WHERE id = %(id)s AND state = 'pending' AND attempts = %(attempts)s"
            ),
            id=delivery.id,
            attempts=delivery.attempts,
            state=state.value,
            status=status,
            error=error,
            pause=pause_seconds,
        )
        return ended is not None

    async def redeliver(self, delivery_id: str, *, owner: str | None = None) -> Delivery | None:
        """Begin anew, whatever became of it; None where there is no such delivery of this owner (None: of any)."""
        return await self._one(
            SQL(
                "UPDATE webhook_deliveries SET state = 'pending', attempts = 0, first_attempt_at = NULL,"
                " next_at = clock_timestamp()"
            )
            + _ONE_OF_OWNER,
            id=delivery_id,
            owner=owner,
        )

    async def list(
        self,
        *,
        owner: str | None = None,
        state: DeliveryState | None = None,
        after: Position | None = None,
        limit: int = 50,
    ) -> DeliveryPage:
        """Return a page, the newest first. owner: None for everybody's."""
        conditions: dict[str, Any] = {
            "owner = %(owner)s": owner,
            "state = %(state)s": state and state.value,
            "(created_at, id) < (%(after_time)s, %(after_id)s)": after,
        }
        given = [SQL(condition) for condition, value in conditions.items() if value is not None]
        statement = (
            SQL("SELECT {} FROM webhook_deliveries").format(_COLUMNS)
            + (SQL(" WHERE ") + SQL(" AND ").join(given) if given else SQL(""))
            + SQL(" ORDER BY created_at DESC, id DESC LIMIT %(rows)s")
        )
        values = {
            "owner": owner,
            "state": state and state.value,
            "after_time": after and after.created_at,
            "after_id": after and after.id,
            "rows": limit + 1,
        }
        async with self._database.connection() as connection:
            rows = connection.cursor(row_factory=kwargs_row(_delivery))
            found = await (await rows.execute(statement, values)).fetchall()
        shown = tuple(found[:limit])
        return DeliveryPage(shown, Position(shown[-1].created_at, shown[-1].id) if len(found) > limit else None)

    async def _one(self, statement: Any, **values: Any) -> Delivery | None:
        if _ID.fullmatch(values["id"]) is None:
            return None
        async with self._database.connection() as connection:
            rows = connection.cursor(row_factory=kwargs_row(_delivery))
            done = await rows.execute(statement + SQL(" RETURNING {}").format(_COLUMNS), values)
            return await done.fetchone()


def _delivery(*, state: str, **columns: Any) -> Delivery:
    return Delivery(state=DeliveryState(state), **columns)
