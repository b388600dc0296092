"""Many requests that were taken at once, and what became of each."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from cinelet.jobs.generation import Generation, Position

PREFIX = "batch_"
_ID = re.compile(rf"{PREFIX}[a-z2-7]{{26}}")

LineState = Literal["queued", "in_progress", "completed", "failed", "cancelled", "deleted"]
"""A generation's, or `deleted`, for a line whose generation was."""
BatchState = Literal["in_progress", "completed", "cancelled"]


def is_batch_id(text: str) -> bool:
    """Tell whether a text has the form of a batch's id; any other names no batch."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class SentLine:
    """One line of a batch as it came. number: the first is 1. error: why no video can be made of it.

    values: the fields of a `VideoRequest` but the image. image: what gives its bytes, where there is one.
    """

    number: int
    custom_id: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    priority: int = 0
    image: Callable[[], Awaitable[bytes]] | None = None
    webhook_url: str | None = field(default=None, repr=False)
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class NewLine:
    """One line of a batch as the ledger takes it: a generation to make, or the reason why there is none."""

    number: int
    custom_id: str | None
    error: Mapping[str, Any] | None = None
    request: Mapping[str, Any] = field(default_factory=dict, repr=False)
    requested_model: str = ""
    queue: str = ""
    priority: int = 0
    cache_key: str | None = None
    webhook_url: str | None = field(default=None, repr=False)
    reserved_cost: float | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch and how far it is. counts: lines by state, as they ended; finished_at: None while any is open."""

    id: str
    owner: str
    metadata: dict[str, str]
    counts: Mapping[str, int]
    cancelled_at: datetime | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def state(self) -> BatchState:
        """What it is as a whole: over when each line has ended, well or not."""
        if self.finished_at is None:
            return "in_progress"
        return "cancelled" if self.cancelled_at is not None and self.counts.get("cancelled") else "completed"


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One line and what became of it. generation: None also while it is to come. error: why there will be none."""

    number: int
    custom_id: str | None
    state: LineState
    generation_id: str | None
    generation: Generation | None
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class BatchPage:
    """A part of a list of batches, the newest first. next: where the next page begins after, None on the last one."""

    batches: tuple[Batch, ...]
    next: Position | None
