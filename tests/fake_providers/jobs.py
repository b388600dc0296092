"""The work that providers took on: each job is queued, runs, and ends."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a job takes: it ends after so many polls that say "not yet", and not before `seconds` have passed."""

    queued_polls: float = 1
    running_polls: float = 1
    seconds: float = 0.0

    @property
    def endless(self) -> bool:
        """Whether a job never ends."""
        return math.isinf(self.queued_polls + self.running_polls + self.seconds)


@dataclass(frozen=True, slots=True)
class Failure:
    """What a job comes to instead of a video. status: for hosts that answer with one."""

    error: str
    status: int = 422


@dataclass(slots=True)
class Job:
    """Work that a provider accepted, and bills."""

    id: str
    provider: str
    model: str
    prompt: str | None
    payload: dict[str, Any]
    caller: str
    pace: Pace
    failure: Failure | None
    accepted_at: float = field(default_factory=time.monotonic)
    polls: int = 0
    cancelled: bool = False

    @property
    def state(self) -> State:
        """Where the job is now."""
        elapsed = time.monotonic() - self.accepted_at
        if self.cancelled:
            return State.CANCELLED
        if self.polls <= self.pace.queued_polls and self.pace.queued_polls:
            return State.QUEUED
        if self.polls <= self.pace.queued_polls + self.pace.running_polls or elapsed < self.pace.seconds:
            return State.RUNNING
        return State.FAILED if self.failure else State.DONE

    @property
    def ended(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state not in {State.QUEUED, State.RUNNING}

    def finish(self) -> None:
        """Count as many polls as it needs: a host that holds the request has no polls."""
        if not self.pace.endless:
            self.polls = int(self.pace.queued_polls + self.pace.running_polls) + 1

    def cancel(self) -> bool:
        """Stop it; False where it is too late."""
        if not self.ended:
            self.cancelled = True
        return self.cancelled


class Ledger:
    """Every job, in the order of acceptance."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.pace = Pace()
        self.failures: list[Failure] = []
        """What the next jobs come to, one each."""
        self._numbers = itertools.count(1)
        self._by_id: dict[str, Job] = {}

    def accept(self, provider: str, model: str, payload: dict[str, Any], *, prompt: str | None, caller: str) -> Job:
        """Take on a job; from here on it is paid for."""
        number = next(self._numbers)
        failure = self.failures.pop(0) if self.failures else None
        job = Job(f"job-{number:08x}", provider, model, prompt, payload, caller, self.pace, failure)
        self.jobs.append(job)
        self._by_id[job.id] = job
        return job

    def find(self, job_id: str, provider: str) -> Job | None:
        """Return a provider's job, or None."""
        job = self._by_id.get(job_id)
        return job if job is not None and job.provider == provider else None
