"""Together AI: a job's address is the submission's with its id behind. Nothing cancels a job there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cinelet.backends.huggingface.providers.provider import Job, Provider, Report, found, state_of, text

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class Together(Provider):
    """Pictures must be small there."""

    name = "together"
    key_variable = "TOGETHER_API_KEY"
    hosts = frozenset({"api.together.xyz", "api.together.ai"})
    max_image_characters = 60_000

    def job(self, reply: Mapping[str, Any], *, url: str) -> Job | None:
        """Read the id, which becomes part of an address."""
        job_id = text(reply, "id")
        return Job(job_id, status_url=f"{url}/{job_id}") if job_id and _ID.fullmatch(job_id) else None

    def report(self, reply: Mapping[str, Any]) -> Report:
        """Read status, outputs.video_url and error."""
        return Report(
            state_of(reply.get("status")), error=found(reply, "error"), video_url=text(reply, "outputs", "video_url")
        )
