"""The engine behind every gateway of `gateway.py`, in a process of its own, until stdin ends.

    python benchmarks/gateway_upstream.py '{"small": 600000, "large": 51000000}'

Speaks `/v1/videos` and does no work: a video is completed when it is asked about, and its file is one of the given
sizes: that of its model's name. Prints its port when it is ready, and at the end how many requests came, by route.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import uvicorn
from starlette.types import Message, Receive, Scope, Send

LISTED = 20
REMEMBERED = 100
_MODEL = re.compile(rb'name="model"[^\r\n]*(?:\r\n[^\r\n]+)*\r\n\r\n([^\r\n]+)|"model":\s*"([^"]+)"')
_SECONDS, _FPS, _SIZE = "2", 8, "64x48"


class Upstream:
    """The engine as an ASGI application, as bare as can be: what it costs is not what is measured."""

    def __init__(self, sizes: dict[str, int]) -> None:
        from tests.fake_providers.video import VideoFile

        self._files = {model: VideoFile(size) for model, size in sizes.items()}
        self._lately: deque[str] = deque(maxlen=REMEMBERED)
        self._made = 0
        self.counts: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        from tests.fake_providers.video import VideoReply

        parts = [unquote(part) for part in scope["path"].removeprefix("/v1/").split("/")]
        match scope["method"], parts:
            case "POST", ["videos"]:
                self.counts["create"] += 1
                name = await self._created(receive)
                await _answer(send, self._video(name, "queued"))
            case "GET", ["videos"]:
                self.counts["list"] += 1
                listed = [self._video(name, "completed") for name in list(self._lately)[-LISTED:]]
                await _answer(send, {"object": "list", "data": listed, "has_more": False})
            case "GET", ["videos", name]:
                self.counts["retrieve"] += 1
                await _answer(send, self._video(name, "completed"))
            case "GET", ["videos", name, "content"]:
                self.counts["content"] += 1
                await VideoReply(self._files[_model_of(name)], None)(scope, receive, send)
            case "GET", ["models"]:
                await _answer(
                    send, {"object": "list", "data": [{"id": name, "object": "model"} for name in self._files]}
                )
            case _:
                self.counts["unknown"] += 1
                await _answer(send, {"error": {"message": f"There is no {scope['path']}"}}, status=404)

    async def _created(self, receive: Receive) -> str:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        found = _MODEL.search(body)
        model = (found[1] or found[2]).decode() if found else ""
        self._made += 1
        name = f"video_{model if model in self._files else 'small'}_{self._made:08d}"
        self._lately.append(name)
        return name

    def _video(self, name: str, status: str) -> dict[str, Any]:
        done = status == "completed"
        return {
            "id": name,
            "object": "video",
            "model": _model_of(name),
            "status": status,
            "progress": 100 if done else 0,
            "created_at": 1_760_000_000,
            "completed_at": 1_760_000_001 if done else None,
            "seconds": _SECONDS,
            "size": _SIZE,
            "fps": _FPS,
            "num_frames": int(_SECONDS) * _FPS,
        }


def _model_of(name: str) -> str:
    return name.split("_")[1]


async def _answer(send: Send, values: dict[str, Any], *, status: int = 200) -> None:
    body = json.dumps(values).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def serve(sizes: dict[str, int]) -> None:
    """Serve until stdin ends."""
    upstream = Upstream(sizes)
    settings = uvicorn.Config(upstream, port=0, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(settings)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  (uvicorn sets a flag)
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await serving
    print(json.dumps({**upstream.counts, "cpu_seconds": time.process_time()}), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    asyncio.run(serve(json.loads(sys.argv[1])))
