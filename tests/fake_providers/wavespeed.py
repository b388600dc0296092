"""WaveSpeed: predictions in an envelope, without a way to cancel."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from tests.fake_providers.jobs import Job, State
from tests.fake_providers.provider import Provider

_WORDS = {State.QUEUED: "created", State.RUNNING: "processing", State.DONE: "completed", State.FAILED: "failed"}


class Wavespeed(Provider):
    """https://api.wavespeed.ai."""

    name = "wavespeed"
    api_host = "api.wavespeed.ai"
    download_host = "d1q70pf5vjeyhc.cloudfront.net"

    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes."""
        return [
            Route("/api/v3/predictions/{job}/result", self.poll),
            Route("/api/v3/predictions/{job}", self.poll),
            Route("/api/v3/{model:path}", self.submit, methods=["POST"]),
        ]

    def refusal(self, status: int, message: str) -> Response:
        """Return an error in the envelope."""
        return JSONResponse({"code": status, "message": message}, status)

    def video_url(self, job: Job) -> str:
        """Return where the file is."""
        return f"https://{self.download_host}/predictions/{job.id}/1.mp4"

    async def submit(self, request: Request) -> ASGIApp:
        """Take a prediction."""
        return await self.take(request, request.path_params["model"])

    async def accepted(self, job: Job, request: Request) -> ASGIApp:  # noqa: ARG002
        """Return the prediction as it begins."""
        return self._prediction(job, State.QUEUED)

    def status(self, job: Job) -> ASGIApp:
        """Return the prediction as it is."""
        return self._prediction(job, job.state)

    def _prediction(self, job: Job, state: State) -> ASGIApp:
        data = {
            "id": job.id,
            "model": job.model,
            "outputs": [self.video_url(job)] if state is State.DONE else [],
            "urls": {"get": f"https://{self.api_host}/api/v3/predictions/{job.id}/result"},
            "has_nsfw_contents": [],
            "status": _WORDS[state],
            "created_at": "2026-11-24T10:00:00.000Z",
            "error": job.failure.error if job.failure and state is State.FAILED else "",
            "timings": {"inference": 0},
        }
        return JSONResponse({"code": 200, "message": "success", "data": data})
