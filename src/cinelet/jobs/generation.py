"""One generation as the ledger holds it."""

from __future__ import annotations

import base64
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cinelet.jobs.states import State
from cinelet.observability.tracing import trace_id_of

_ID = re.compile(r"gen_[a-z2-7]{26}")


def new_id(prefix: str = "gen_") -> str:
    """Return an id with 130 random bits, which nobody can guess."""
    return prefix + base64.b32encode(secrets.token_bytes(17)).decode("ascii").lower()[:26]


def is_id(text: str) -> bool:
    """Tell whether a text has the form of an id; any other names no generation."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Generation:
    """One request and what became of it. Times are in UTC.

    attempt: how often a worker has claimed it; the number of the claim that may write now. crashes: how often a worker
    was lost while it had the claim. worker: who has it now. handle: what a provider gave us to ask again by.
    attempts: the tries of models, result: the facts of the video, error: why it failed; JSON values. progress: 0 to 1,
    and 1 means stored. model: what made it, None until that is known. queue: whose workers may take it. follows: the
    identical generation that it waits for. webhook_url: who is told of its end. previews: how many pictures there have
    been of what is being made; 0 where there is none to be seen now. traceparent: the trace that its work goes on from;
    attempt_traceparent: the last worker's part of it, where that was recorded.
    """

    id: str
    owner: str
    state: State
    cancel_requested: bool
    request: dict[str, Any] = field(repr=False)
    requested_model: str
    model: str | None
    queue: str
    follows: str | None
    progress: float
    stage: str | None
    step: int
    steps: int
    note: str
    eta_seconds: float | None
    handle: dict[str, Any] | None = field(repr=False)
    worker: str | None
    attempt: int
    crashes: int
    attempts: list[dict[str, Any]]
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    priority: int
    not_before: datetime | None
    cache_key: str | None
    idempotency_key: str | None = field(repr=False)
    webhook_url: str | None = field(repr=False)
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    previews: int = 0
    traceparent: str | None = field(default=None, repr=False)
    attempt_traceparent: str | None = field(default=None, repr=False)

    @property
    def trace_id(self) -> str | None:
        """The id of the trace, by which its log lines are found."""
        return trace_id_of(self.traceparent)


@dataclass(frozen=True, slots=True)
class Inserted:
    """What an insert found. created: False where the idempotency key had made this generation before."""

    generation: Generation
    created: bool


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a list that is ordered by time; it stays right while generations come and go."""

    created_at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, the newest first. next: where the next page begins after, None on the last one."""

    generations: tuple[Generation, ...]
    next: Position | None
