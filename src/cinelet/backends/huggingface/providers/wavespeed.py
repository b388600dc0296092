"""WaveSpeedAI: one address tells of a job and of its result. Nothing cancels a job there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cinelet.backends.huggingface.providers.provider import Job, Provider, Report, found, state_of, text


class WaveSpeed(Provider):
    """Every reply lies in `data`."""

    name = "wavespeed"
    key_variable = "WAVESPEED_API_KEY"
    hosts = frozenset({"api.wavespeed.ai"})

    def job(self, reply: Mapping[str, Any], *, url: str) -> Job | None:  # noqa: ARG002
        """Read data.id and data.urls.get."""
        status_url = text(reply, "data", "urls", "get")
        return None if status_url is None else Job(text(reply, "data", "id") or "", status_url=status_url)

    def report(self, reply: Mapping[str, Any]) -> Report:
        """Read data.status, data.outputs and data.error."""
        return Report(
            state_of(found(reply, "data", "status")),
            error=found(reply, "data", "error"),
            video_url=text(reply, "data", "outputs", 0),
        )
