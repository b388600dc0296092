"""`/v1/models/{ref}`: what a model can do, where it is loaded, what may be asked of it, and what to begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cinelet.domain.backend import Capabilities, FrameRule, Offer
from cinelet.domain.condition import Condition, Device, LoadedModel
from cinelet.domain.model import ModelReference
from cinelet.jobs.database import Database
from cinelet.jobs.roster import Roster, WorkerReport
from cinelet.media.image import _DECODERS
from cinelet.media.signature import IMAGE_TYPES
from cinelet.testing import FakeBackend
from tests.api.served import Served

LOADED = (LoadedModel("org/name", "cuda:1", bytes=7), LoadedModel("embedded", "cuda:1"))
REPORT = WorkerReport("studio", 1, {"local": 1}, 0, 0, 1.0, 1, Condition(Device("cuda:1"), LOADED))


class Describes(FakeBackend):
    """Knows all that there is to know of a model."""

    async def capabilities(self, model: ModelReference) -> Capabilities:
        return replace(
            await super().capabilities(model),
            frame_rule=FrameRule(8, 1, 9, 49),
            vocabulary={"color": ("red", "blue")},
            examples=("a red circle", "a blue square"),
            offers=(Offer("fal-ai", "text-to-video", "live", "fal/name"),),
        )


@pytest.fixture(scope="module")
def served(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = copy_data(tmp_path_factory.mktemp("models") / "data")
    with Served(data, make_backend=Describes, worker=False, max_video_duration=12, max_image_size=1_000_000) as served:
        yield served


@pytest.fixture(scope="module")
def client(served: Served) -> httpx2.Client:
    async def working(database: Database) -> None:
        await Roster(database).write("studio:1:a", REPORT)

    served.with_database(working)
    return served.client


def shown(client: httpx2.Client, model: str) -> Any:
    reply = client.get(f"/v1/models/{model}")
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_a_model_is_shown_with_all_that_is_known_of_it(client: httpx2.Client) -> None:
    found = shown(client, "local:org/name")
    assert (found["id"], found["object"], found["owned_by"]) == ("local:org/name", "model", "this machine (fake)")
    assert found["tasks"] == ["image-to-video", "text-to-video"]
    assert found["parameters"] == sorted(found["parameters"])
    assert found["frame_rule"] == {"multiple": 8, "offset": 1, "minimum": 9, "maximum": 49}
    assert found["vocabulary"] == {"color": ["red", "blue"]}
    assert found["examples"] == ["a red circle", "a blue square"]
    assert found["default_size"] == [64, 48]
    assert found["offers"][0]["provider"] == "fal-ai"


def test_the_limits_are_those_that_requests_are_held_to(client: httpx2.Client) -> None:
    limits = shown(client, "embedded")["limits"]
    assert limits == {
        "prompt_characters": [1, 1000],
        "duration": [1, 12],
        "fps": [1, 60],
        "num_inference_steps": [1, 100],
        "guidance_scale": [0, 100],
        "side": [16, 4096],
        "image_bytes": 1_000_000,
        "image_types": ["image/png", "image/jpeg", "image/webp"],
    }
    assert set(IMAGE_TYPES) == set(_DECODERS)
    fields = {"duration": "duration", "fps": "fps", "num_inference_steps": "num_inference_steps", "side": "width"}
    for limit, field in {**fields, "guidance_scale": "guidance_scale"}.items():
        low, high = limits[limit]
        for value, status in ((low, 202), (high, 202), (low - 1, 422), (high + 1, 422)):
            sides = {"height": 64, "codec": "h264"} if field == "width" else {}
            body = {"prompt": "x", "model": "embedded", field: value, **sides}
            reply = client.post("/v1/text-to-video", json=body)
            assert reply.status_code == status, (field, value, reply.text)


@pytest.mark.parametrize(
    ("model", "devices"),
    [
        ("org/name", ["cuda:1"]),
        ("local:org/name", ["cuda:1"]),
        ("embedded", ["cuda:1"]),
        ("hf:org/name", []),
        ("local:org/other", []),
        ("local:./org/name", []),
    ],
)
def test_where_a_model_is_loaded_is_told(client: httpx2.Client, model: str, devices: list[str]) -> None:
    expected = [{"worker": "studio:1:a", "device": device} for device in devices]
    assert shown(client, model)["loaded"] == expected


def test_what_is_no_reference_is_not_found(client: httpx2.Client) -> None:
    assert client.get("/v1/models/nothing").status_code == 404
