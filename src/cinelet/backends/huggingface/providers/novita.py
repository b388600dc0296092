"""Novita: the request is held until the video is done, and the reply says where it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cinelet.backends.huggingface.providers.provider import Job, Provider, text


class Novita(Provider):
    """There is no job to ask about: a reply that is lost is lost with its video."""

    name = "novita"
    key_variable = "NOVITA_API_KEY"
    hosts = frozenset({"api.novita.ai"})
    holds_request = True

    def job(self, reply: Mapping[str, Any], *, url: str) -> Job | None:  # noqa: ARG002
        """Read video.video_url."""
        video_url = text(reply, "video", "video_url")
        return None if video_url is None else Job("", video_url=video_url)
