"""An engine that serves `/v1/videos` on loopback, as SGLang and vLLM-Omni do: multipart in, JSON and a real MP4 out."""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cinelet.media.encode import encode

Answer = Response | Callable[[Request], Awaitable[Response]] | None

MODEL = "tiny-video"
NUMBERS = ("num_frames", "fps", "width", "height", "num_inference_steps", "guidance_scale", "seed")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request as it arrived. form: texts, and files as (name, type, content)."""

    method: str
    path: str
    headers: dict[str, str]
    form: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class EngineJob:
    """A job: what was asked, how often it was asked about, and the file once it is made."""

    form: dict[str, Any]
    reply: dict[str, Any]
    polls: int = 0
    content: bytes = b""


class FakeEngine:
    """Serves one model from a thread. A job is queued at the first question, runs at the next, and is then done.

    token: what callers must bring. makes: parameters that it makes as it likes, and says so. `script["poll"]` holds
    answers to give instead of its own, in turn: responses, functions of the request that return one, or None for its
    own; the other stages are "create", "content", "cancel" and "models".
    """

    token: str | None
    makes: dict[str, Any]
    script: defaultdict[str, list[Answer]]
    requests: list[Recorded]
    jobs: dict[str, EngineJob]

    def __init__(self) -> None:
        self.reset()
        routes = [
            Route("/v1/videos", self._create, methods=["POST"]),
            Route("/v1/videos/{id}", self._retrieve, methods=["GET"]),
            Route("/v1/videos/{id}", self._cancel, methods=["DELETE"]),
            Route("/v1/videos/{id}/content", self._content, methods=["GET"]),
            Route("/v1/models", self._models, methods=["GET"]),
        ]
        self._server = uvicorn.Server(
            uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=0, log_level="critical", lifespan="off")
        )
        self._thread = threading.Thread(target=self._serve, name="fake-engine")
        self._ready = threading.Event()
        self.port = 0

    def reset(self) -> None:
        """Forget all that happened, and do as at first."""
        self.token, self.makes, self.can_cancel = None, {}, True
        self.script, self.requests, self.jobs = defaultdict(list), [], {}

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)

    @property
    def url(self) -> str:
        """Its address, as a reference holds it."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def posts(self) -> int:
        """How often it was asked for a video."""
        return self.count("POST")

    def count(self, method: str, end: str = "") -> int:
        """Return how many requests came with this method, and a path that ends so."""
        return sum(asked.method == method and asked.path.endswith(end) for asked in self.requests)

    def _serve(self) -> None:
        async def serve() -> None:
            config = self._server.config
            config.load()
            self._server.lifespan = config.lifespan_class(config)
            await self._server.startup()
            self.port = self._server.servers[0].sockets[0].getsockname()[1]
            self._ready.set()
            await self._server.main_loop()
            await self._server.shutdown()

        asyncio.run(serve())

    async def _asked(self, request: Request, stage: str) -> Response | None:
        """Keep the request; return what is to be answered instead of the engine's own answer, if anything."""
        form: dict[str, Any] = {}
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            async with request.form() as items:
                for name, value in items.multi_items():
                    if isinstance(value, UploadFile):
                        form[name] = (value.filename, value.content_type, await value.read())
                    else:
                        form[name] = value
        self.requests.append(Recorded(request.method, request.url.path, dict(request.headers), form))
        if self.script[stage]:
            answer = self.script[stage].pop(0)
            if answer is not None:
                return answer if isinstance(answer, Response) else await answer(request)
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return error(401, "Incorrect API key provided", code="invalid_api_key")
        return None

    async def _create(self, request: Request) -> Response:
        if (answer := await self._asked(request, "create")) is not None:
            return answer
        form = self.requests[-1].form
        if not form:
            return error(400, "the body is no multipart form")
        if form.get("model") != MODEL:
            return error(404, f"The model {form.get('model')} does not exist", code="model_not_found", param="model")
        if not form.get("prompt"):
            return error(400, "prompt is required", param="prompt")
        if not re.fullmatch(r"[1-9]\d*", form.get("seconds", "4")):
            return JSONResponse({"detail": [{"loc": ["body", "seconds"], "msg": "must be whole"}]}, 422)
        values: dict[str, Any] = {name: float(form[name]) for name in NUMBERS if name in form} | self.makes
        values.setdefault("fps", 24)
        values.setdefault("num_frames", int(form.get("seconds", 4)) * values["fps"])
        if "size" in form and "width" not in self.makes:
            values["width"], values["height"] = map(float, form["size"].split("x"))
        values.setdefault("width", 64)
        values.setdefault("height", 48)
        name = f"vidéo {len(self.requests)}"
        reply = {
            "id": name,
            "object": "video",
            "model": MODEL,
            "status": "queued",
            "progress": 0,
            "created_at": 1_760_000_000,
            "seconds": str(round(values["num_frames"] / values["fps"])),
            "size": f"{int(values['width'])}x{int(values['height'])}",
            "fps": values["fps"],
            "num_frames": int(values["num_frames"]),
        }
        self.jobs[name] = EngineJob({**form, **values}, reply)
        return JSONResponse(self.jobs[name].reply)

    def _job(self, request: Request) -> EngineJob | None:
        return self.jobs.get(request.path_params["id"])

    async def _retrieve(self, request: Request) -> Response:
        if (answer := await self._asked(request, "poll")) is not None:
            return answer
        job = self._job(request)
        if job is None:
            return error(404, "Video not found")
        if not job.content and job.polls == 2:
            job.content = await asyncio.to_thread(make_video, job.form)
        states = [("queued", 0), ("in_progress", 50), ("completed", 100)]
        status, progress = states[min(job.polls, 2)]
        job.polls += 1
        return JSONResponse(
            {**job.reply, "status": status, "progress": progress}, headers={"openai-poll-after-ms": "1"}
        )

    async def _content(self, request: Request) -> Response:
        if (answer := await self._asked(request, "content")) is not None:
            return answer
        job = self._job(request)
        if job is None or not job.content:
            return error(404, "Generation is still in-progress")
        return Response(job.content, media_type="video/mp4")

    async def _cancel(self, request: Request) -> Response:
        if (answer := await self._asked(request, "cancel")) is not None:
            return answer
        if not self.can_cancel:
            return JSONResponse({"detail": "Method Not Allowed"}, 405)
        job = self.jobs.pop(request.path_params["id"], None)
        if job is None:
            return error(404, "Video not found")
        return JSONResponse({"id": request.path_params["id"], "object": "video.deleted", "deleted": True})

    async def _models(self, request: Request) -> Response:
        if (answer := await self._asked(request, "models")) is not None:
            return answer
        return JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model"}]})


def error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> Response:
    """Answer with an error in OpenAI's shape."""
    body = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return JSONResponse({"error": body}, status, headers={"x-request-id": "req_1"})


def make_video(form: dict[str, Any]) -> bytes:
    """Make a real MP4 whose colours follow from everything that was asked."""
    width, height, count = int(form["width"]), int(form["height"]), int(form["num_frames"])
    seen = ("prompt", "negative_prompt", "input_reference", "seed", "num_inference_steps", "guidance_scale")
    identity = hashlib.sha256(repr([form.get(name) for name in seen]).encode()).digest()
    frames = np.empty((count, height, width, 3), dtype=np.uint8)
    frames[:] = np.frombuffer(identity[:3], dtype=np.uint8)
    for number in range(count):
        frames[number, : height // 2, : max(2, width * number // count)] = np.frombuffer(identity[3:6], dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        encode(frames, path, fps=form["fps"], preset="low")
        return path.read_bytes()
