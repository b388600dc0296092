"""A dedicated Inference Endpoint: the reply to the POST is the video itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute, Host, Route, Router
from starlette.types import ASGIApp

from tests.fake_providers.accounts import HUGGING_FACE, Guarded
from tests.fake_providers.jobs import Job
from tests.fake_providers.provider import Provider
from tests.fake_providers.video import VideoReply

ENDPOINT_URL = "https://xyz.us-east-1.aws.endpoints.huggingface.cloud"


class Endpoint(Provider):
    """`{"inputs", "parameters"}` to bytes, for Hugging Face tokens. The image is `inputs`, or there is none."""

    name = "endpoint"
    api_host = ENDPOINT_URL.removeprefix("https://")

    def hosts(self) -> Sequence[BaseRoute]:
        """Return the one host."""
        return [Host(self.api_host, Guarded(Router(self.routes()), HUGGING_FACE))]

    def routes(self) -> Sequence[BaseRoute]:
        """Return the one route."""
        return [Route("/{path:path}", self.submit, methods=["POST"])]

    def tasks(self, model: str) -> frozenset[str]:  # noqa: ARG002
        """There is one model, and it does both."""
        return frozenset({"text-to-video", "image-to-video"})

    def prompt(self, payload: Mapping[str, Any]) -> Any:
        """Return the prompt, which is a parameter where the input is an image."""
        return payload.get("parameters", {}).get("prompt", payload.get("inputs"))

    def problem(self, payload: Any, tasks: frozenset[str]) -> str:  # noqa: ARG002
        """The input is all that is needed."""
        return "" if isinstance(payload, dict) and payload.get("inputs") else "`inputs` is required"

    async def submit(self, request: Request) -> ASGIApp:
        """Make the video while the client waits."""
        return await self.take(request, "")

    async def accepted(self, job: Job, request: Request) -> ASGIApp:  # noqa: ARG002
        """Return the video."""
        await self.hold(job)
        if job.failure:
            return self.refusal(job.failure.status, job.failure.error)
        return VideoReply(self.books.video, None)
