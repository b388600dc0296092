"""fal: a queue. A failed job is COMPLETED, and its error is the reply to the GET of its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from tests.fake_providers.jobs import Job, State
from tests.fake_providers.provider import Provider
from tests.fake_providers.traffic import Received


class Fal(Provider):
    """https://queue.fal.run; through the router, `_subdomain=queue` chooses it."""

    name = "fal-ai"
    api_host = "queue.fal.run"
    download_host = "v3.fal.media"
    scheme = "Key"

    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes; of a model's name, a job's addresses keep the owner and the app only."""
        job = "/{owner}/{app}/requests/{job}"
        return [
            Route(f"{job}/status", self.poll),
            Route(f"{job}/cancel", self.cancel, methods=["PUT"]),
            Route(job, self.result),
            Route("/{model:path}", self.submit, methods=["POST"]),
        ]

    def refusal(self, status: int, message: str) -> Response:
        """Return an error of the platform."""
        return JSONResponse({"detail": message}, status)

    def image(self, payload: Mapping[str, Any]) -> Any:
        """Return the image's address."""
        return payload.get("image_url")

    def checks_late(self) -> bool:
        """The queue takes anything; the model looks at it."""
        return True

    async def submit(self, request: Request) -> ASGIApp:
        """Take a job into the queue."""
        if request.scope["root_path"] and request.query_params.get("_subdomain") != "queue":
            # That would be fal.run, which holds the request; no video model is served so here.
            return self.refusal(404, "Not Found")
        return await self.take(request, request.path_params["model"])

    async def accepted(self, job: Job, request: Request) -> ASGIApp:  # noqa: ARG002
        """Return the addresses, which are fal's own also through the router."""
        return JSONResponse({**self._facts(job), "status": "IN_QUEUE", "queue_position": 0})

    def find(self, request: Request, received: Received) -> Job | None:
        """Return the job, if the address names its owner and app."""
        job = super().find(request, received)
        named = f"{request.path_params['owner']}/{request.path_params['app']}"
        return job if job is not None and named == _owner_and_app(job) else None

    def status(self, job: Job) -> ASGIApp:
        """Answer 202 until it is over, then 200."""
        match job.state:
            case State.QUEUED:
                return JSONResponse({**self._facts(job), "status": "IN_QUEUE", "queue_position": 1}, 202)
            case State.RUNNING:
                return JSONResponse({**self._facts(job), "status": "IN_PROGRESS", "logs": []}, 202)
            case _:
                return JSONResponse({**self._facts(job), "status": "COMPLETED", "metrics": {"inference_time": 1.5}})

    async def result(self, request: Request) -> ASGIApp:
        """Answer with the video's address, or with the error that the model ended in."""

        async def right(received: Received) -> ASGIApp:
            job = self.find(request, received)
            if job is None:
                return self.refusal(404, "Request not found")
            if job.state is State.CANCELLED:
                return self.refusal(400, "Request was cancelled")
            if not job.ended:
                return self.refusal(400, "Request is still in progress")
            if job.failure is None:
                file = {"url": self.video_url(job), "content_type": "video/mp4", "file_name": "output.mp4"}
                return JSONResponse({"video": {**file, "file_size": self.books.video.size}, "seed": 42})
            if job.failure.status >= 500:
                body = {"detail": job.failure.error, "error_type": "runner_disconnected"}
                return JSONResponse(body, job.failure.status, {"x-fal-error-type": "runner_disconnected"})
            detail = {"loc": ["body", "prompt"], "msg": job.failure.error, "type": "value_error"}
            return JSONResponse({"detail": [detail]}, job.failure.status)

        return await self.books.answer(request, "result", self.name, right)

    async def cancel(self, request: Request) -> ASGIApp:
        """Stop a job."""

        async def right(received: Received) -> ASGIApp:
            job = self.find(request, received)
            if job is None:
                return JSONResponse({"status": "NOT_FOUND"}, 404)
            if not job.cancel():
                return JSONResponse({"status": "ALREADY_COMPLETED"}, 400)
            return JSONResponse({"status": "CANCELLATION_REQUESTED"}, 202)

        return await self.books.answer(request, "cancel", self.name, right)

    def _facts(self, job: Job) -> dict[str, Any]:
        url = f"https://{self.api_host}/{_owner_and_app(job)}/requests/{job.id}"
        return {
            "request_id": job.id,
            "response_url": url,
            "status_url": f"{url}/status",
            "cancel_url": f"{url}/cancel",
        }


def _owner_and_app(job: Job) -> str:
    return "/".join(job.model.split("/")[:2])
