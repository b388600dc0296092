"""A place in a list that is ordered by time, as clients give it back to go on from there."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

from cinelet.domain.errors import ValidationError
from cinelet.jobs.generation import Position


def cursor_of(position: Position) -> str:
    """Return a position as text."""
    text = f"{position.created_at.timestamp():.6f} {position.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def position_of(cursor: str) -> Position:
    """Return the position that a text names, or raise `ValidationError`."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        seconds, _, name = text.partition(" ")
        return Position(datetime.fromtimestamp(float(seconds), UTC), name)
    except (ValueError, OverflowError, OSError, binascii.Error) as error:
        raise ValidationError("after is not the `next` of a page", {"after": "Not a position"}) from error
