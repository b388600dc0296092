"""Replicate: predictions, which tell their addresses, and how far they are in their log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cinelet.backends.huggingface.providers.provider import Job, Provider, Report, State, state_of, text

_STEPS = re.compile(r"\b\d{1,3}%\|[^|\n\r]*\|\s*(\d{1,5})/(\d{1,5})\b")
_LOG_TAIL_CHARACTERS = 2000


class Replicate(Provider):
    """Whether the router passes on a question about a prediction is not known; with Replicate's own key it works."""

    name = "replicate"
    key_variable = "REPLICATE_API_TOKEN"
    hosts = frozenset({"api.replicate.com"})

    def job(self, reply: Mapping[str, Any], *, url: str) -> Job | None:  # noqa: ARG002
        """Read id, urls.get, urls.cancel; a quick prediction is done already."""
        status_url = text(reply, "urls", "get")
        video_url = _output(reply) if state_of(reply.get("status")) is State.DONE else None
        if status_url is None and video_url is None:
            return None
        return Job(
            text(reply, "id") or "",
            status_url=status_url,
            cancel_url=text(reply, "urls", "cancel"),
            video_url=video_url,
        )

    def report(self, reply: Mapping[str, Any]) -> Report:
        """Read status, output, error, and the progress bar that most models print into their log."""
        bars = _STEPS.findall((text(reply, "logs") or "")[-_LOG_TAIL_CHARACTERS:])
        step, steps = map(int, bars[-1]) if bars else (0, 0)
        return Report(
            state_of(reply.get("status")),
            step=min(step, steps),
            steps=steps,
            error=reply.get("error"),
            video_url=_output(reply),
        )


def _output(reply: Mapping[str, Any]) -> str | None:
    return text(reply, "output") or text(reply, "output", 0)
