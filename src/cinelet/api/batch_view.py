"""A batch and its lines as clients see them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from cinelet.api.view import GenerationView, view_of
from cinelet.jobs.batch import Batch, BatchLine, BatchState, LineState


class Counts(BaseModel):
    """How many lines of a batch are how far."""

    total: int
    queued: int
    in_progress: int
    completed: int
    failed: int
    cancelled: int
    deleted: int


class BatchView(BaseModel):
    """Many requests and how far they are. Times are seconds since the epoch."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    object: Literal["batch"] = "batch"
    state: BatchState
    """`completed` when each line has ended, well or not."""
    counts: Counts
    metadata: dict[str, str]
    cancel_requested: bool
    created_at: float
    finished_at: float | None


class BatchPage(BaseModel):
    """A page, the newest first. next: what to give as `after` for the page that follows, None on the last one."""

    data: list[BatchView]
    next: str | None


class LineView(BaseModel):
    """One line of a batch and what became of it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    line: int
    """Its number; the first is 1."""
    custom_id: str | None
    state: LineState
    id: str | None
    """Of its generation; None where none could be made."""
    video: str | None
    """Where the video is, once there is one."""
    error: dict[str, Any] | None
    """Why there is no video."""
    generation: GenerationView | None


def batch_view_of(batch: Batch) -> BatchView:
    """Return a batch as clients see it."""
    counts = {state: batch.counts.get(state, 0) for state in Counts.model_fields if state != "total"}
    return BatchView(
        id=batch.id,
        state=batch.state,
        counts=Counts(total=sum(counts.values()), **counts),
        metadata=batch.metadata,
        cancel_requested=batch.cancelled_at is not None,
        created_at=batch.created_at.timestamp(),
        finished_at=batch.finished_at and batch.finished_at.timestamp(),
    )


def line_view_of(line: BatchLine) -> LineView:
    """Return a line as clients see it."""
    generation = None if line.generation is None else view_of(line.generation)
    return LineView(
        line=line.number,
        custom_id=line.custom_id,
        state=line.state,
        id=line.generation_id,
        video=None if generation is None else generation.links.video,
        error=line.error if generation is None else generation.error,
        generation=generation,
    )
