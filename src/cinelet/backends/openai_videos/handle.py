"""What is saved of a job, so that any process can ask about it again: no address and no secret."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from cinelet.domain.backend import Handle
from cinelet.transport.submission import submission_unknown

BACKEND = "openai_videos"
MAX_ID_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Job:
    """A job that an engine accepted. Where the engine is, the model's reference says, and nothing that was saved.

    accepted_at: seconds since the epoch.
    """

    id: str
    seed: int | None
    accepted_at: float = field(default_factory=time.time, compare=False)

    def age_seconds(self) -> float:
        """Return how long ago the job was accepted."""
        return max(0.0, time.time() - self.accepted_at)

    @property
    def path(self) -> str:
        """Where the job is, below the engine's address."""
        return f"videos/{quote(self.id, safe='')}"


def submitting(reference: str, host: str) -> dict[str, Any]:
    """Return what is saved before the request is sent."""
    return {"model": reference, "backend": BACKEND, "provider": host, "submitting": True}


def accepted(reference: str, host: str, job: Job) -> dict[str, Any]:
    """Return what is saved when the engine has taken the job."""
    return {
        "model": reference,
        "backend": BACKEND,
        "provider": host,
        "id": job.id,
        "seed": job.seed,
        "accepted_at": round(job.accepted_at, 3),
    }


def job_in(values: Mapping[str, Any], *, seed: int | None) -> Job | None:
    """Return the job that a reply or a handle names, or None if that is no id."""
    name = values.get("id")
    usable = isinstance(name, str) and 0 < len(name) <= MAX_ID_CHARACTERS and name.isprintable()
    # Dots are steps in an address.
    return Job(name, seed) if isinstance(name, str) and usable and name.strip(".") else None


def restored(handle: Handle | None, *, reference: str, host: str) -> Job | None:
    """Return the job of a handle of this model, or None if there is none.

    Raises `SubmissionUnknownError` where there may be a job that nobody can ask about.
    """
    if handle is None or (handle.get("backend"), handle.get("model")) != (BACKEND, reference):
        return None
    if handle.get("submitting"):
        raise submission_unknown(what=reference, provider=host, why="the process ended while it was being sent")
    seed = handle.get("seed")
    job = job_in(handle, seed=seed if isinstance(seed, int) else None)
    if job is None:
        raise submission_unknown(what=reference, provider=host, why="what was saved about it is damaged")
    known_at = handle.get("accepted_at")
    return replace(job, accepted_at=known_at if isinstance(known_at, (int, float)) else 0.0)
