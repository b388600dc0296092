"""The statement of a page of generations: only what is filtered by is in it, so that an index serves each."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any, TypedDict

from psycopg.sql import SQL, Composable, Composed, Identifier

from cinelet.domain.errors import ValidationError
from cinelet.jobs.generation import Generation, Position
from cinelet.jobs.searching import pattern
from cinelet.jobs.states import State

MAX_PAGE = 1000
# They have all that a page is mostly chosen and ordered by: `generations` is much wider, and is looked into for little.
_OF_TEXTS = "texts.created_at", "generation_id", "texts.owner"


class Filters(TypedDict, total=False):
    """Of the generations that are listed; None is as if it was not there. after: the last one of the page before.

    model: what made it, or what was asked for while nothing has. batch: the id of the one that it came in. text: a part
    of the prompt, in whatever case.
    """

    state: State | None
    model: str | None
    batch: str | None
    owner: str | None
    text: str | None
    created_from: datetime | None
    created_before: datetime | None
    after: Position | None
    oldest_first: bool


def listing(
    *,
    state: State | None = None,
    model: str | None = None,
    batch: str | None = None,
    owner: str | None = None,
    text: str | None = None,
    created_from: datetime | None = None,
    created_before: datetime | None = None,
    after: Position | None = None,
    oldest_first: bool = False,
    limit: int = 50,
) -> tuple[Composed, dict[str, Any]]:
    """Return the statement of a page and its values. It asks for one row more than `limit`: whether there is a next."""
    if not 1 <= limit <= MAX_PAGE:
        raise ValidationError(f"A page has 1-{MAX_PAGE} generations", {"limit": f"Must be between 1 and {MAX_PAGE}"})
    # Only the filters that are given: each set of them has an index of its own, and a plan of its own.
    time, name, owners = ("created_at", "id", "owner") if text is None else _OF_TEXTS
    conditions: dict[str, Any] = {
        "state = %(state)s": state and state.value,
        "coalesce(model, requested_model) = %(model)s": model,
        "id IN (SELECT generation_id FROM batch_lines WHERE batch_id = %(batch)s)": batch,
        f"{owners} = %(owner)s": owner,
        "folded LIKE %(pattern)s": text,
        f"{time} >= %(created_from)s": created_from,
        f"{time} < %(created_before)s": created_before,
        f"({time}, {name}) {'>' if oldest_first else '<'} (%(after_time)s, %(after_id)s)": after,
    }
    given: list[Composable] = [SQL(condition) for condition, value in conditions.items() if value is not None]
    where = SQL(" WHERE ") + SQL(" AND ").join(given) if given else SQL("")
    statement = (
        SQL("SELECT ")
        + SQL(", ").join(Identifier("generations", column.name) for column in fields(Generation))
        + SQL(
            " FROM generations"
            if text is None
            else " FROM generation_texts texts JOIN generations ON id = generation_id"
        )
        + where
        + SQL(f" ORDER BY {time}, {name}" if oldest_first else f" ORDER BY {time} DESC, {name} DESC")
        + SQL(" LIMIT %(rows)s")
    )
    values = {
        "state": state and state.value,
        "model": model,
        "batch": batch,
        "owner": owner,
        "pattern": None if text is None else pattern(text),
        "created_from": created_from,
        "created_before": created_before,
        "after_time": after and after.created_at,
        "after_id": after and after.id,
        "rows": limit + 1,
    }
    return statement, values
