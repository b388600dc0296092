"""The begin and the end of a generation, as metrics."""

from __future__ import annotations

from cinelet.jobs.generation import Generation
from cinelet.jobs.states import State
from cinelet.observability import metrics


def count_start(claimed: Generation) -> None:
    """Count how long a generation has waited since it was due, when it is claimed for the first time."""
    if claimed.attempt == 1 and claimed.started_at is not None:
        due = max(claimed.created_at, claimed.not_before or claimed.created_at)
        metrics.begun(claimed.queue, (claimed.started_at - due).total_seconds())


def count_end(queue: str, state: State, *, model: str, code: str | None = None) -> None:
    """Count a generation that a write of ours has brought to an end, if it has. code: of the error it ends with."""
    if state.final:
        metrics.ended(queue, state, model=model, code=code)
