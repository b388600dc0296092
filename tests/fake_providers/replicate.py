"""Replicate: predictions, which a client may wait for in the POST itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from tests.fake_providers.jobs import Job, State
from tests.fake_providers.provider import Provider
from tests.fake_providers.traffic import Received

MAX_WAIT_SECONDS = 60
_WAIT = re.compile(r"wait(?:=(\d+))?")
_WORDS = {
    State.QUEUED: "starting",
    State.RUNNING: "processing",
    State.DONE: "succeeded",
    State.FAILED: "failed",
    State.CANCELLED: "canceled",
}


class Replicate(Provider):
    """https://api.replicate.com."""

    name = "replicate"
    api_host = "api.replicate.com"
    download_host = "replicate.delivery"

    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes."""
        return [
            Route("/v1/models/{model:path}/predictions", self.submit, methods=["POST"]),
            Route("/v1/predictions", self.submit_version, methods=["POST"]),
            Route("/v1/predictions/{job}", self.poll),
            Route("/v1/predictions/{job}/cancel", self.cancel, methods=["POST"]),
        ]

    def refusal(self, status: int, message: str) -> Response:
        """Return a problem document."""
        return JSONResponse({"title": message, "detail": message, "status": status}, status)

    def invalid_status(self) -> int:
        """Replicate says 422."""
        return 422

    def prompt(self, payload: Mapping[str, Any]) -> Any:
        """Return the prompt of the input."""
        return payload.get("input", {}).get("prompt")

    def image(self, payload: Mapping[str, Any]) -> Any:
        """Return the image of the input."""
        return payload.get("input", {}).get("image")

    def video_url(self, job: Job) -> str:
        """Return where the file is."""
        return f"https://{self.download_host}/xezq/{job.id}/output.mp4"

    async def submit(self, request: Request) -> ASGIApp:
        """Take a prediction of an official model."""
        return await self.take(request, request.path_params["model"])

    async def submit_version(self, request: Request) -> ASGIApp:
        """Take a prediction of a version, which the body names."""
        try:
            version = str(request.state.received.json().get("version"))
        except (ValueError, AttributeError):
            version = ""
        return await self.take(request, version)

    def tasks(self, model: str) -> frozenset[str]:
        """Return what a model or a version can do; the mapping names versions as `owner/name:version`."""
        named = {
            offer["providerId"]: offer["task"]
            for described in self.books.models.values()
            if (offer := described.mapping.get(self.name))
        }
        return frozenset(task for own, task in named.items() if model in {own, own.partition(":")[2]})

    async def accepted(self, job: Job, request: Request) -> ASGIApp:
        """Return the prediction, after the wait that the client asked for."""
        match = _WAIT.fullmatch(request.headers.get("prefer", ""))
        if match and not job.pace.endless:
            await self.hold(job, at_most_seconds=min(int(match[1] or MAX_WAIT_SECONDS), MAX_WAIT_SECONDS))
            return self._prediction(job, job.state, 201)
        return self._prediction(job, State.QUEUED, 201)

    def status(self, job: Job) -> ASGIApp:
        """Return the prediction as it is."""
        return self._prediction(job, job.state, 200)

    async def cancel(self, request: Request) -> ASGIApp:
        """Stop a prediction."""

        async def right(received: Received) -> ASGIApp:
            job = self.find(request, received)
            if job is None:
                return self.refusal(404, "The requested resource could not be found.")
            job.cancel()
            return self._prediction(job, job.state, 200)

        return await self.books.answer(request, "cancel", self.name, right)

    def _prediction(self, job: Job, state: State, status: int) -> ASGIApp:
        url = f"https://{self.api_host}/v1/predictions/{job.id}"
        facts = {
            "id": job.id,
            "model": job.model,
            "version": "hidden",
            "input": job.payload["input"],
            "logs": "",
            "output": self.video_url(job) if state is State.DONE else None,
            "data_removed": False,
            "error": job.failure.error if job.failure and state is State.FAILED else None,
            "status": _WORDS[state],
            "created_at": "2026-11-24T10:00:00.000Z",
            "urls": {"get": url, "cancel": f"{url}/cancel", "web": f"https://replicate.com/p/{job.id}"},
        }
        return JSONResponse(facts, status)
