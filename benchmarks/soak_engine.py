"""The world around the service of `soak.py`: an engine that fails now and then, and a receiver of webhooks.

    python benchmarks/soak_engine.py '{"seed": 1}'

Prints its port when it is ready. Runs until stdin ends, and then prints what it was asked for: how many jobs it took
for each prompt, how many times each fault was, and which generations the receiver heard of.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote

import uvicorn
from starlette.types import Message, Receive, Scope, Send

JOB_SECONDS = (0.2, 2.5)
_FIELD = re.compile(rb'name="(model|prompt)"[^\r\n]*(?:\r\n[^\r\n]+)*\r\n\r\n([^\r\n]*)')

FAULTS = {
    "create": {"refused": 0.05, "rate limited": 0.03, "taken, then silent": 0.01},
    "poll": {"broken": 0.05, "silent": 0.03},
    "job": {"failed": 0.03},
    "content": {"short": 0.03, "broken": 0.03, "silent": 0.02},
    "hook": {"broken": 0.1},
}
"""How often each happens, of all requests or jobs of the kind. silent: the connection ends without a reply."""


class Silence(Exception):  # noqa: N818  (nothing went wrong: it is what was wanted)
    """Ends a connection without a reply."""


class World:
    """The engine and the receiver, as one ASGI application."""

    def __init__(self, seed: int) -> None:
        from tests.fake_providers.video import small_mp4

        self._random = Random(seed)
        self._video = small_mp4()
        self._jobs: dict[str, tuple[float, bool]] = {}
        self.taken: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.heard: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        parts = [unquote(part) for part in scope["path"].split("/")[1:]]
        body = await _body(receive)
        match scope["method"], parts:
            case "POST", ["hook"]:
                await self._hook(body, send)
            case "POST", ["v1", "videos"]:
                await self._create(body, send)
            case "GET", ["v1", "videos", name]:
                await self._poll(name, send)
            case "GET", ["v1", "videos", _, "content"]:
                await self._content(send)
            case "DELETE", ["v1", "videos", name]:
                self._jobs.pop(name, None)
                await _answer(send, {"id": name, "object": "video.deleted", "deleted": True})
            case "GET", ["v1", "models"]:
                await _answer(send, {"object": "list", "data": [{"id": "soak", "object": "model"}]})
            case _:
                await _answer(send, {"error": {"message": f"There is no {scope['path']}"}}, status=404)

    async def _create(self, body: bytes, send: Send) -> None:
        fields = {name.decode(): value.decode() for name, value in _FIELD.findall(body)}
        fault = self._fault("create")
        if fault == "refused":
            await _answer(send, {"error": {"message": "busy"}}, status=503)
            return
        if fault == "rate limited":
            await _answer(send, {"error": {"message": "slower"}}, status=429, headers={"retry-after": "1"})
            return
        self.taken[fields.get("prompt", "")] += 1
        name = f"video_{sum(self.taken.values()):08d}"
        done_at = time.monotonic() + self._random.uniform(*JOB_SECONDS)
        self._jobs[name] = done_at, self._fault("job") is not None
        if fault is not None:
            raise Silence
        await _answer(send, _view(name, "queued"))

    async def _poll(self, name: str, send: Send) -> None:
        await self._perhaps_fail("poll", send)
        if name not in self._jobs:
            await _answer(send, {"error": {"message": "Video not found"}}, status=404)
            return
        done_at, fails = self._jobs[name]
        status = "in_progress" if time.monotonic() < done_at else "failed" if fails else "completed"
        await _answer(send, _view(name, status), headers={"openai-poll-after-ms": "200"})

    async def _content(self, send: Send) -> None:
        fault = await self._perhaps_fail("content", send)
        headers = [(b"content-type", b"video/mp4"), (b"content-length", str(len(self._video)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if fault == "short":
            await send({"type": "http.response.body", "body": self._video[: len(self._video) // 2], "more_body": True})
            raise Silence
        await send({"type": "http.response.body", "body": self._video})

    async def _hook(self, body: bytes, send: Send) -> None:
        await self._perhaps_fail("hook", send)
        self.heard[json.loads(body)["data"]["id"]] += 1
        await _answer(send, {})

    async def _perhaps_fail(self, kind: str, send: Send) -> str | None:
        """Draw a fault, and be it where it is one of all requests; return one that is left to the caller."""
        fault = self._fault(kind)
        if fault == "silent":
            raise Silence
        if fault == "broken":
            await _answer(send, {"error": {"message": "broken"}}, status=500)
            raise Silence
        return fault

    def _fault(self, kind: str) -> str | None:
        draw = self._random.random()
        for name, share in FAULTS[kind].items():
            if draw < share:
                self.faults[f"{kind} {name}"] += 1
                return name
            draw -= share
        return None


def _view(name: str, status: str) -> dict[str, Any]:
    view = {"id": name, "object": "video", "model": "soak", "status": status, "created_at": 1_760_000_000}
    view |= {"progress": 100 if status == "completed" else 0, "seconds": "1", "size": "64x48"}
    return view | ({"error": {"code": "internal", "message": "the lens broke"}} if status == "failed" else {})


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _answer(
    send: Send, values: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None
) -> None:
    body = json.dumps(values).encode()
    told = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in told.items()]
    start: Message = {"type": "http.response.start", "status": status, "headers": raw}
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def serve(seed: int) -> None:
    """Serve until stdin ends."""
    world = World(seed)
    # What ends a connection on purpose is no error to be told.
    settings = uvicorn.Config(world, port=0, lifespan="off", log_config=None, access_log=False, log_level="critical")
    server = uvicorn.Server(settings)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  (uvicorn sets a flag)
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await serving
    print(json.dumps({"taken": world.taken, "faults": world.faults, "heard": world.heard}), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    asyncio.run(serve(json.loads(sys.argv[1])["seed"]))
