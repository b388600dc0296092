"""The statement of a page of generations: only what is filtered by is in it, so that an index serves each."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from psycopg.sql import SQL, Composable, Composed, Identifier

from cinelet.domain.errors import ValidationError
from cinelet.jobs.generation import Generation, Position
from cinelet.jobs.searching import pattern
from cinelet.jobs.states import State

MAX_PAGE = 1000
# Their key is the order of a page: they are walked in it, read as a whole, or looked up, whichever costs least.
_TEXTS = " JOIN generation_texts ON generation_texts.created_at = generations.created_at AND generation_id = id"


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
    beyond = f"{'>' if oldest_first else '<'} (%(after_time)s, %(after_id)s)"
    conditions: dict[str, Any] = {
        "state = %(state)s": state and state.value,
        "coalesce(model, requested_model) = %(model)s": model,
        "id IN (SELECT generation_id FROM batch_lines WHERE batch_id = %(batch)s)": batch,
        "owner = %(owner)s": owner,
        "folded LIKE %(pattern)s": text,
        "generations.created_at >= %(created_from)s": created_from,
        "generations.created_at < %(created_before)s": created_before,
        f"(generations.created_at, id) {beyond}": after,
        # The planner does not see by itself that both tables begin there.
        f"(generation_texts.created_at, generation_id) {beyond}": None if text is None else after,
    }
    given: list[Composable] = [SQL(condition) for condition, value in conditions.items() if value is not None]
    where = SQL(" WHERE ") + SQL(" AND ").join(given) if given else SQL("")
    order = "generations.created_at, id" if oldest_first else "generations.created_at DESC, id DESC"
    statement = (
        SQL("SELECT ")
        + SQL(", ").join(Identifier("generations", column.name) for column in fields(Generation))
        + SQL(" FROM generations")
        + SQL("" if text is None else _TEXTS)
        + where
        + SQL(f" ORDER BY {order} LIMIT %(rows)s")
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
