"""Together: video jobs, whose file's short address leads to another host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Host, Route, Router
from starlette.types import ASGIApp

from tests.fake_providers.jobs import Job, State
from tests.fake_providers.provider import Provider
from tests.fake_providers.traffic import Received

MAX_IMAGE_CHARACTERS = 60 * 1024
_SHORT_HOST = "api.together.ai"
_WORDS = {State.QUEUED: "queued", State.RUNNING: "in_progress", State.DONE: "completed", State.FAILED: "failed"}


class Together(Provider):
    """https://api.together.xyz."""

    name = "together"
    api_host = "api.together.xyz"
    download_host = "together-outputs.s3.us-west-2.amazonaws.com"

    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes."""
        return [
            Route("/v2/videos", self.submit, methods=["POST"]),
            Route("/v2/videos/{job}", self.poll),
        ]

    def hosts(self) -> Sequence[BaseRoute]:
        """Return the API, the downloads, and the host of short addresses."""
        return [*super().hosts(), Host(_SHORT_HOST, Router([Route("/shrt/{job}", self.lengthen)]))]

    def refusal(self, status: int, message: str) -> Response:
        """Return an error as OpenAI words it."""
        return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, status)

    def image(self, payload: Mapping[str, Any]) -> Any:
        """Return the first frame."""
        frames = payload.get("frame_images")
        return frames[0].get("input_image") if frames else None

    def problem(self, payload: Any, tasks: frozenset[str]) -> str:
        """Check the image's size as well."""
        found = super().problem(payload, tasks)
        image = self.image(payload) if not found else None
        if image is not None and len(image) > MAX_IMAGE_CHARACTERS:
            return f"input_image is longer than {MAX_IMAGE_CHARACTERS} characters"
        return found

    async def submit(self, request: Request) -> ASGIApp:
        """Take a job; the model is in the body."""
        try:
            model = str(request.state.received.json().get("model"))
        except (ValueError, AttributeError):
            model = ""
        return await self.take(request, model)

    async def accepted(self, job: Job, request: Request) -> ASGIApp:  # noqa: ARG002
        """Return the job as it begins."""
        return self._job(job, State.QUEUED)

    def status(self, job: Job) -> ASGIApp:
        """Return the job as it is."""
        return self._job(job, job.state)

    async def lengthen(self, request: Request) -> ASGIApp:
        """Lead from the short address to the file."""

        async def right(_received: Received) -> ASGIApp:
            return RedirectResponse(f"https://{self.download_host}/{request.path_params['job']}/video.mp4", 302)

        return await self.books.answer(request, "redirect", self.name, right)

    def _job(self, job: Job, state: State) -> ASGIApp:
        facts: dict[str, Any] = {
            "id": job.id,
            "object": "video",
            "model": job.model,
            "status": _WORDS[state],
            "created_at": 1764000000,
            "size": "832x480",
            "seconds": "5",
        }
        if state is State.DONE:
            facts["outputs"] = {"cost": 0.28, "video_url": f"https://{_SHORT_HOST}/shrt/{job.id}"}
        if state is State.FAILED and job.failure:
            facts["error"] = {"message": job.failure.error, "code": "generation_failed"}
        return JSONResponse(facts)
