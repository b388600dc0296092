"""Bodies that are too long are refused while they arrive, before they fill memory, whatever they say of themselves."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from cinelet.testing import FakeBackend
from tests.api.served import Served

MIB = 1024 * 1024
PIECE_BYTES = 64 * 1024
ENDLESS = 10_000 * MIB
PART = b'--b\r\nContent-Disposition: form-data; name="%b"; filename="x"\r\n\r\n'
FORM = "multipart/form-data; boundary=b"
BODIES = {
    "image form": ("/v1/image-to-video", FORM, PART % b"image"),
    "image JSON": ("/v1/image-to-video", "application/json", b'{"image": "'),
    "text": ("/v1/text-to-video", "application/json", b'{"prompt": "'),
    "OpenAI's form": ("/v1/videos", FORM, PART % b"input_reference"),
    "OpenAI's JSON": ("/v1/videos", "application/json", b'{"prompt": "'),
    "batch form": ("/v1/batches", FORM, PART % b"file"),
    "batch lines": ("/v1/batches", "application/jsonl", b'{"prompt": "x"}\n'),
    "batch JSON": ("/v1/batches", "application/json", b'{"requests": ["'),
}

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@pytest.fixture(scope="module")
def served(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = copy_data(tmp_path_factory.mktemp("uploads") / "data")
    with Served(data, make_backend=FakeBackend, worker=False) as served:
        yield served


def upload(served: Served, path: str, kind: str, first: bytes, *, declared: int | None) -> tuple[int, int, int]:
    """Send a body without end to the application itself; return the status, what it took, and its growth in memory."""
    given, statuses = 0, []
    length = [] if declared is None else [(b"content-length", str(declared).encode())]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", kind.encode()), *length],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", served.port),
    }

    async def receive() -> dict[str, Any]:
        nonlocal given
        assert given < ENDLESS
        # Another one each time: what is kept counts.
        piece = bytearray(first if given == 0 else b"")
        piece += b"x" * (PIECE_BYTES - len(piece))
        given += len(piece)
        return {"type": "http.request", "body": bytes(piece), "more_body": True}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def sent() -> None:
        async with asyncio.timeout(30):
            await served.app(scope, receive, send)

    gc.collect()
    tracemalloc.start()
    try:
        asyncio.run_coroutine_threadsafe(sent(), served._loop).result(40)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (status,) = statuses
    return status, given, peak


@pytest.mark.parametrize("declared", [None, 1000, 900_000_000], ids=["chunked", "lying", "honest"])
@pytest.mark.parametrize("body", BODIES)
def test_a_body_is_counted_while_it_arrives(served: Served, body: str, declared: int | None) -> None:
    limit = served.config.max_image_size * 4 / 3 + 512 * 1024
    status, given, peak = upload(served, *BODIES[body], declared=declared)
    assert status == 413
    assert given < limit + MIB
    assert peak < 32 * MIB
    if declared is not None and declared > limit:
        assert given == 0, "what is too long by its own word is not read at all"


def test_the_service_goes_on_afterwards(served: Served) -> None:
    upload(served, *BODIES["image form"], declared=None)
    assert served.client.post("/v1/text-to-video", json={"prompt": "a gull", "duration": 1}).status_code == 202
