"""What hosts that make videos have in common: they take a job, tell how it goes, and hand out a file."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Host, Mount, Route, Router
from starlette.types import ASGIApp

from tests.fake_providers.accounts import HUGGING_FACE, KEYS, Credential, Guarded
from tests.fake_providers.books import Books
from tests.fake_providers.jobs import Failure, Job, State
from tests.fake_providers.traffic import Received
from tests.fake_providers.video import VideoReply

ROUTER_HOST = "router.huggingface.co"
_IMAGE_STARTS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"RIFF")


class Provider(ABC):
    """A provider; subclasses say how it words things. Paths are those of its own API, which the router repeats."""

    name: ClassVar[str]
    api_host: ClassVar[str]
    download_host: ClassVar[str]
    scheme: ClassVar[str] = "Bearer"

    def __init__(self, books: Books) -> None:
        self.books = books

    @abstractmethod
    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes of the API."""

    def refusal(self, status: int, message: str) -> Response:
        """Return an error in the provider's words."""
        return JSONResponse({"error": message}, status)

    @abstractmethod
    async def accepted(self, job: Job, request: Request) -> ASGIApp:
        """Return the reply to an accepted job."""

    def status(self, job: Job) -> ASGIApp:
        """Return the reply to a poll, which was counted; without polls there is no such job."""
        return self.refusal(404, f"There is no status of {job.id}")

    def prompt(self, payload: Mapping[str, Any]) -> Any:
        """Return where the prompt is in a request."""
        return payload.get("prompt")

    def image(self, payload: Mapping[str, Any]) -> Any:
        """Return where the image is in a request."""
        return payload.get("image")

    def hosts(self) -> Sequence[BaseRoute]:
        """Return the provider's own hosts: the API for its keys, and the downloads for everybody."""
        credential = self.credential()
        downloads = Router([Route("/{path:path}", self.download)])
        return [
            Host(self.api_host, Guarded(Router(self.routes()), credential)),
            Host(self.download_host, downloads),
        ]

    def credential(self) -> Credential:
        """Return who may use the API directly."""
        refusal = json.loads(bytes(self.refusal(401, "Authentication is required").body))
        return Credential(self.scheme, frozenset({KEYS[self.name]}), refusal)

    def mount(self) -> BaseRoute:
        """Return the API behind the router, for Hugging Face tokens."""
        return Mount(f"/{self.name}", Guarded(Router(self.routes()), HUGGING_FACE))

    def video_url(self, job: Job) -> str:
        """Return where a finished job's file is."""
        return f"https://{self.download_host}/files/{job.id}/output.mp4"

    async def take(self, request: Request, model: str) -> ASGIApp:
        """Answer a POST that submits work."""

        async def right(received: Received) -> ASGIApp:
            try:
                payload = received.json()
            except ValueError:
                return self.refusal(400, "The body is not JSON")
            tasks = self.tasks(model)
            if not tasks:
                return self.refusal(404, f"Model {model} does not exist")
            problem = self.problem(payload, tasks)
            if problem and not self.checks_late():
                return self.refusal(self.invalid_status(), problem)
            prompt = self.prompt(payload)
            job = self.books.ledger.accept(self.name, model, payload, prompt=prompt, caller=received.authorization)
            if problem:
                job.failure = Failure(problem)
            self.books.notify()
            return await self.accepted(job, request)

        return await self.books.answer(request, "submit", self.name, right)

    async def poll(self, request: Request) -> ASGIApp:
        """Answer a GET that asks how it goes."""

        async def right(received: Received) -> ASGIApp:
            job = self.find(request, received)
            if job is None:
                return self.refusal(404, "There is no such job")
            job.polls += 1
            return self.status(job)

        return await self.books.answer(request, "poll", self.name, right)

    async def download(self, request: Request) -> ASGIApp:
        """Answer a GET for a file. Nobody has to sign in: the address is the secret."""

        async def right(received: Received) -> ASGIApp:
            job = next((job for job in self.books.ledger.jobs if job.id in received.path.split("/")), None)
            if job is None or job.provider != self.name or job.state is not State.DONE:
                return Response(b"<Error><Code>NoSuchKey</Code></Error>", 404, media_type="application/xml")
            return VideoReply(self.books.video, received.headers.get("range"))

        return await self.books.answer(request, "download", self.name, right)

    def find(self, request: Request, received: Received) -> Job | None:
        """Return the job of a request, if it is the caller's."""
        job = self.books.ledger.find(request.path_params["job"], self.name)
        return job if job is not None and job.caller == received.authorization else None

    def tasks(self, model: str) -> frozenset[str]:
        """Return what the provider's model can do."""
        return self.books.tasks(self.name, model)

    def checks_late(self) -> bool:
        """Tell whether a wrong request is accepted first and fails as a job."""
        return False

    def invalid_status(self) -> int:
        """Return the status of a wrong request."""
        return 400

    def problem(self, payload: Any, tasks: frozenset[str]) -> str:
        """Say what is wrong with a request; nothing where it is right."""
        if not isinstance(payload, dict):
            return "The body must be an object"
        prompt, image = self.prompt(payload), self.image(payload)
        if tasks == {"image-to-video"} and image is None:
            return "An image is required"
        if tasks == {"text-to-video"} and not (isinstance(prompt, str) and prompt):
            return "A prompt is required"
        if image is not None and not _is_image(image):
            return "The image is neither an address nor a data URI with an image"
        return ""

    async def hold(self, job: Job, *, at_most_seconds: float = float("inf")) -> None:
        """Wait, while the client waits, until the job has ended or the time is over."""
        seconds = float("inf") if job.pace.endless else job.pace.seconds
        await asyncio.sleep(min(seconds, at_most_seconds))
        if seconds <= at_most_seconds:
            job.finish()


def _is_image(image: object) -> bool:
    """Tell whether a value is an address, or a data URI whose bytes begin as an image does."""
    if not isinstance(image, str):
        return False
    if image.startswith("https://"):
        return True
    header, comma, content = image.partition(",")
    if not comma or not header.startswith("data:image/") or not header.endswith(";base64"):
        return False
    try:
        return base64.b64decode(content, validate=True).startswith(_IMAGE_STARTS)
    except binascii.Error:
        return False
