"""The states of a generation and the moves between them, in one table.

The database refuses any other move by a trigger's condition; a test tries every pair.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """What became of a generation so far. The last three are final."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return not MOVES[self]

    def may_become(self, other: State) -> bool:
        """Tell whether the move is legal."""
        return other in MOVES[self]


MOVES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.IN_PROGRESS, State.CANCELLED}),
    # Back to the queue: a worker that stops hands its work over.
    State.IN_PROGRESS: frozenset({State.COMPLETED, State.FAILED, State.CANCELLED, State.QUEUED}),
    State.COMPLETED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
"""Where each state may lead."""
