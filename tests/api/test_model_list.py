"""The list of models: what is configured, what was downloaded, and what the caller has used lately."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cinelet.api.model_list import ListedModel, listed_models
from cinelet.clock import FakeClock
from cinelet.config import Config
from cinelet.jobs.keys import REMEMBERED_SECONDS, Keys, Role
from cinelet.testing import FakeBackend
from tests.api.served import SHORT, Served
from tests.backends.diffusers.test_downloaded import needed, put


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    for name in ("org/whole", "cerspense/zeroscope_v2_XL"):
        put(tmp_path / "hub", name, needed())
    return tmp_path / "hub"


def listed(cache: Path, *, used_lately: Sequence[str] = (), **settings: Any) -> dict[str, ListedModel]:
    config = Config(hf_hub_cache=cache, hf_token=None, **settings)
    return {model.id: model for model in asyncio.run(listed_models(config, used_lately=used_lately))}


def test_without_a_token_everything_named_runs_here(cache: Path) -> None:
    found = listed(cache, default_text_to_video_model="hf:org/remote:fal-ai", default_image_to_video_model="embedded")
    assert found["embedded"].where == "here"
    assert found["embedded"].roles[:2] == ["inside the package", "default for image-to-video"]
    assert found["hf:org/remote:fal-ai"].where == "remote"
    assert list(found)[-1] == "hf:org/remote:fal-ai", "those that run here come first"
    assert found["local:org/whole"].where == "here"
    assert found["local:org/whole"].roles == ["downloaded"]


def test_a_name_that_may_lead_to_a_provider_does_either(cache: Path) -> None:
    found = listed(cache, fal_key="key")
    both = "cerspense/zeroscope_v2_XL"
    assert (found[both].where, found[both].roles) == ("either", ["fallback for text-to-video", "downloaded"])
    assert (found[f"local:{both}"].where, found[f"local:{both}"].roles) == ("here", ["downloaded"])
    assert found["embedded"].where == "here"


def test_where_a_name_leads_here_alone_it_is_listed_once(cache: Path) -> None:
    found = listed(cache, default_text_to_video_model="org/whole")
    assert found["org/whole"].roles == ["default for text-to-video", "downloaded"]
    assert "local:org/whole" not in found


def test_what_was_used_lately_is_listed_with_what_else_it_is(cache: Path) -> None:
    used = ["openai:m@https://engine.example/v1", "embedded", "local:org/whole", "plugin:x", "no reference"]
    found = listed(cache, used_lately=used)
    assert found[used[0]].roles == ["used lately"]
    assert found[used[0]].where == "remote"
    assert "used lately" in found["embedded"].roles
    assert found["local:org/whole"].roles == ["used lately", "downloaded"]
    assert found["plugin:x"].where == "here"
    assert "no reference" not in found


def test_each_owner_sees_what_he_used_himself(copy_data: Callable[[Path], Path], tmp_path: Path, cache: Path) -> None:
    data, clock = copy_data(tmp_path / "data"), FakeClock()
    with Served(data, make_backend=FakeBackend, worker=False, clock=clock, hf_hub_cache=cache) as served:
        served.client.post("/v1/text-to-video", json={"prompt": "x", "model": "local:org/mine", **SHORT})
        models = served.client.get("/v1/models").json()
        assert models["object"] == "list"
        roles = {model["id"]: model["roles"] for model in models["data"]}
        assert (roles["local:org/mine"], roles["local:org/whole"]) == (["used lately"], ["downloaded"])
        _, secret = served.with_database(lambda database: Keys(database).create("bob", role=Role.ADMIN))
        clock.advance(REMEMBERED_SECONDS)
        his = served.client.get("/v1/models", headers={"authorization": f"Bearer {secret}"}).json()["data"]
        assert "local:org/mine" not in {model["id"] for model in his}
        assert models["data"][0].keys() == {"id", "object", "created", "owned_by", "where", "roles"}
