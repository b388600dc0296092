"""fal.ai: a queue. A job is done before it is known whether it came to anything; its result says that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cinelet.backends.huggingface.providers.provider import Job, Provider, Report, State, number, state_of, text


class FalAI(Provider):
    """The addresses of a job name only the owner and the app, so they are taken from the reply, never built."""

    name = "fal-ai"
    key_variable = "FAL_KEY"
    hosts = frozenset({"queue.fal.run"})
    scheme = "Key"
    router_query = "_subdomain=queue"
    cancel_method = "PUT"

    def job(self, reply: Mapping[str, Any], *, url: str) -> Job | None:  # noqa: ARG002
        """Read request_id and the addresses; only the result's is always there."""
        request_id, result_url = text(reply, "request_id"), text(reply, "response_url")
        if request_id is None or result_url is None:
            return None
        return Job(
            request_id,
            status_url=text(reply, "status_url") or f"{result_url}/status",
            result_url=result_url,
            cancel_url=text(reply, "cancel_url") or f"{result_url}/cancel",
        )

    def report(self, reply: Mapping[str, Any]) -> Report:
        """Read status and queue_position; a job that is completed with an error has no result."""
        state = state_of(reply.get("status"))
        error = reply.get("error")
        if state is State.DONE and error:
            return Report(State.FAILED, error=error)
        return Report(state, position=number(reply, "queue_position"), error=error)

    def video_url(self, result: Mapping[str, Any]) -> str | None:
        """Read video.url; some apps make a list."""
        return text(result, "video", "url") or text(result, "videos", 0, "url")
