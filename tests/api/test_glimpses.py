"""Pictures of what is being made, over HTTP: while it is, to whom it belongs, and not afterwards."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.progress import Stage
from cinelet.domain.request import VideoRequest
from cinelet.testing import FakeBackend
from tests.api.served import SHORT, Served, made


class Showing(FakeBackend):
    """Shows two pictures to whoever would look, and then waits until it may end."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = threading.Event()

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        for number in (1, 2):
            if context.previews:
                context.show(b"RIFF----WEBP" + str(number).encode())
            context.report(Stage.DENOISING, 0.1 * number, step=number, steps=4)
            await self.clock.pause_async(0.5, context=context)
        while not self.may_end.is_set():
            await self.clock.pause_async(0.02, context=context)
        return await super().generate(request, context)


@pytest.fixture(params=[True, False])
def previews(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def backend() -> Iterator[Showing]:
    backend = Showing()
    yield backend
    backend.may_end.set()


@pytest.fixture
def client(
    copy_data: Callable[[Path], Path], tmp_path: Path, backend: Showing, *, previews: bool
) -> Iterator[httpx2.Client]:
    data = copy_data(tmp_path / "data")
    with Served(data, make_backend=lambda: backend, cinelet_previews=previews) as served:
        yield served.client
        backend.may_end.set()


def events(client: httpx2.Client, generation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with client.stream("GET", generation["links"]["events"]) as reply:
        for line in reply.iter_lines():
            if line.startswith("data: {"):
                yield json.loads(line.removeprefix("data: "))


def started(client: httpx2.Client) -> dict[str, Any]:
    generation: dict[str, Any] = client.post("/v1/text-to-video", json={"prompt": "a gull", **SHORT}).json()
    return generation


@pytest.mark.parametrize("previews", [True])
def test_a_picture_is_there_while_the_video_is_made(client: httpx2.Client, backend: Showing) -> None:
    generation = started(client)
    where = generation["links"]["self"]
    assert generation["links"]["preview"] is None
    told: list[str | None] = []
    shown, view = httpx2.Response(500), {}
    for event in events(client, generation):
        told.append(event["preview"])
        if event["preview"] == f"{where}/preview?number=2":
            shown = client.get(event["preview"])
            view = client.get(where).json()
            backend.may_end.set()
    assert (shown.status_code, shown.headers["content-type"], shown.content) == (200, "image/webp", b"RIFF----WEBP2")
    assert "no-store" in shown.headers["cache-control"]
    assert view["links"]["preview"] == f"{where}/preview?number=2"
    assert {f"{where}/preview?number=1", f"{where}/preview?number=2"} <= set(told)
    assert told[-1] is None
    done = client.get(where).json()
    assert (done["state"], done["links"]["preview"]) == ("completed", None)
    gone = client.get(f"{where}/preview")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "no_preview")


@pytest.mark.parametrize("previews", [False])
def test_an_operator_can_turn_them_off(client: httpx2.Client, backend: Showing) -> None:
    generation = started(client)
    told = []
    for event in events(client, generation):
        told.append(event["preview"])
        if event["step"] == 2:
            assert client.get(f"{generation['links']['self']}/preview").status_code == 404
            backend.may_end.set()
    assert set(told) == {None}


@pytest.mark.parametrize("previews", [True])
def test_what_waits_or_is_made_has_none(client: httpx2.Client, backend: Showing) -> None:
    backend.may_end.set()
    generation = made(client)
    assert client.get(f"{generation['links']['self']}/preview").status_code == 404
    assert client.get(f"/v1/generations/gen_{'a' * 26}/preview").status_code == 404
