"""An address or a path of the server is an administrator's to name, or listed."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from cinelet.jobs.keys import Keys, Role
from cinelet.testing import FakeBackend
from tests.api.served import SHORT, Served

LISTED = "openai:small@http://engine.internal:8000/v1"
TEXT = {"prompt": "a gull", **SHORT}
PRIVATE: dict[str, dict[str, Any]] = {
    "an engine": {"model": "openai:x@http://127.0.0.1:{port}/internal"},
    "an engine of another name at a listed address": {"model": "openai:other@http://engine.internal:8000/v1"},
    "an endpoint": {"model": "https://stranger.endpoints.huggingface.cloud"},
    "a directory": {"model": "local:/etc"},
    "a directory of a user": {"model": "local:~root"},
    "an upscaler": {"model": "local:org/name", "upscaler": "local:/etc"},
    "a LoRA": {"model": "local:org/name", "lora": [{"path": "/root/private.safetensors"}]},
}


@pytest.fixture(scope="module")
def served(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = copy_data(tmp_path_factory.mktemp("open") / "data")
    with Served(data, make_backend=FakeBackend, worker=False, cinelet_open_models=LISTED) as served:
        yield served


@pytest.fixture(scope="module")
def headers(served: Served) -> dict[Role, dict[str, str]]:
    def made(role: Role) -> dict[str, str]:
        _, secret = served.with_database(lambda database: Keys(database).create(f"{role}", role=role))
        return {"authorization": f"Bearer {secret}"}

    return {role: made(role) for role in Role}


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """What must not be connected to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        yield listening


def private(name: str, listening: socket.socket) -> dict[str, Any]:
    port = listening.getsockname()[1]
    return {key: value.format(port=port) if key == "model" else value for key, value in PRIVATE[name].items()}


def refused(reply: httpx2.Response, listening: socket.socket) -> None:
    assert reply.status_code == 403, reply.text
    error = reply.json()["error"]
    assert error["code"] == "not_allowed"
    assert error["param"] in {"model", "upscaler", "lora"}
    with pytest.raises(TimeoutError):
        listening.accept()


@pytest.mark.parametrize("name", PRIVATE)
def test_a_key_that_makes_videos_names_no_address_and_no_path(
    served: Served, headers: dict[Role, dict[str, str]], listening: socket.socket, name: str
) -> None:
    asked, key = {**TEXT, **private(name, listening)}, headers[Role.GENERATE]
    refused(served.client.post("/v1/text-to-video", json=asked, headers=key), listening)
    refused(served.client.post("/v1/estimate", json=asked, headers=key), listening)
    if set(asked) == {*TEXT, "model"}:
        image = io.BytesIO()
        Image.new("RGB", (64, 48)).save(image, "PNG")
        files = {"image": ("a.png", image.getvalue(), "image/png")}
        refused(served.client.post("/v1/image-to-video", data=asked, files=files, headers=key), listening)
        videos = {"prompt": "a gull", "seconds": "1", "model": asked["model"]}
        refused(served.client.post("/v1/videos", json=videos, headers=key), listening)


@pytest.mark.parametrize("role", [Role.READ, Role.GENERATE])
@pytest.mark.parametrize("name", ["an engine", "an endpoint", "a directory"])
def test_nor_does_it_learn_what_is_there(
    served: Served, headers: dict[Role, dict[str, str]], listening: socket.socket, name: str, role: Role
) -> None:
    model = private(name, listening)["model"]
    refused(served.client.get(f"/v1/models/{model}", headers=headers[role]), listening)


def test_a_line_of_a_batch_that_names_one_is_kept_as_failed(
    served: Served, headers: dict[Role, dict[str, str]]
) -> None:
    key = headers[Role.GENERATE]
    lines = [{**TEXT, "model": "local:/etc"}, {**TEXT, "model": LISTED}]
    batch = served.client.post("/v1/batches", json={"requests": lines}, headers=key).json()
    results = served.client.get(f"/v1/batches/{batch['id']}/results", headers=key).text.splitlines()
    assert "not_allowed" in results[0]
    assert "not_allowed" not in "".join(results[1:])
    assert batch["counts"]["failed"] == 1


def test_what_is_listed_is_for_everybody_and_an_administrator_names_what_he_likes(
    served: Served, headers: dict[Role, dict[str, str]]
) -> None:
    def status(model: str, role: Role) -> int:
        return served.client.post("/v1/text-to-video", json={**TEXT, "model": model}, headers=headers[role]).status_code

    assert status(LISTED, Role.GENERATE) == 202
    assert status("org/any", Role.GENERATE) == 202
    assert status("openai:x@http://127.0.0.1:9/v1", Role.ADMIN) == 202


def test_who_needs_no_key_names_them_on_this_machine_and_not_where_all_are_served(
    copy_data: Callable[[Path], Path], tmp_path: Path
) -> None:
    asked = {**TEXT, "model": "openai:x@http://127.0.0.1:9/v1"}
    for open_to_all, status in ((False, 202), (True, 403)):
        data = copy_data(tmp_path / f"data-{open_to_all}")
        with Served(data, make_backend=FakeBackend, worker=False, open_to_all=open_to_all) as served:
            assert served.client.post("/v1/text-to-video", json=asked).status_code == status
