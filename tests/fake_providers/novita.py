"""Novita: the POST is held until the video is made."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from tests.fake_providers.jobs import Job
from tests.fake_providers.provider import Provider


class Novita(Provider):
    """https://api.novita.ai; the file's address is signed."""

    name = "novita"
    api_host = "api.novita.ai"
    download_host = "faas-output-video.s3.ap-southeast-1.amazonaws.com"

    def routes(self) -> Sequence[BaseRoute]:
        """Return the one route."""
        return [Route("/v3/hf/{model:path}", self.submit, methods=["POST"])]

    def refusal(self, status: int, message: str) -> Response:
        """Return an error with a reason."""
        return JSONResponse({"code": status, "reason": "INVALID_REQUEST", "message": message}, status)

    def video_url(self, job: Job) -> str:
        """Return where the file is, with its signature."""
        signature = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=3600&X-Amz-Signature=" + "0123456789abcdef" * 4
        return f"https://{self.download_host}/prod/{job.id}/video.mp4?{signature}"

    async def submit(self, request: Request) -> ASGIApp:
        """Make the video while the client waits."""
        return await self.take(request, request.path_params["model"])

    async def accepted(self, job: Job, request: Request) -> ASGIApp:  # noqa: ARG002
        """Return the video's address."""
        await self.hold(job)
        if job.failure:
            return self.refusal(job.failure.status, job.failure.error)
        video = {"video_url": self.video_url(job), "video_url_ttl": "3600", "video_type": "mp4"}
        return JSONResponse({"video": video, "seed": 42})
