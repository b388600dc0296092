"""Where a page of a list begins, as text that a client hands back."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

from cinelet.api.errors import NoSuchPageError
from cinelet.jobs.generation import Position
from cinelet.jobs.idempotency import is_storable


def cursor_of(position: Position | None) -> str | None:
    """Return a place in a list as text; None for none."""
    if position is None:
        return None
    text = f"{position.created_at.timestamp():.6f} {position.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def position_of(cursor: str | None) -> Position | None:
    """Return the place that a text names; None for none. Raises `NoSuchPageError` where it names no place."""
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        seconds, _, name = text.partition(" ")
        position = Position(datetime.fromtimestamp(float(seconds), UTC), name)
    except (ValueError, OverflowError, OSError, binascii.Error) as error:
        raise NoSuchPageError from error
    if not is_storable(name):
        raise NoSuchPageError
    return position
