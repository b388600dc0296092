"""`/v1/stats`: how models did lately."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cinelet.domain.errors import RateLimitError
from cinelet.jobs.keys import Keys, Role
from cinelet.testing import FakeBackend
from tests.api.served import SHORT, Served

MODEL = "hf:org/name:fal-ai"
NOBODY = {"p50": None, "p95": None}


class Attempting(FakeBackend):
    """Tells its attempts, as the chain does that stands in its place."""

    async def generate(self, request: Any, context: Any) -> Any:
        from dataclasses import replace
        from time import monotonic

        from cinelet.domain.errors import CineletError
        from cinelet.domain.model import ModelReference
        from cinelet.resilience.attempts import collect, failed, succeeded

        model, began = ModelReference.parse(request.model), monotonic()
        try:
            video = await super().generate(request, context)
        except CineletError as error:
            collect(failed(model, error, seconds=monotonic() - began))
            raise
        return replace(video, attempts=(succeeded(model, video, seconds=monotonic() - began),))


@pytest.fixture(scope="module")
def backend() -> Attempting:
    return Attempting()


@pytest.fixture(scope="module")
def served(
    copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory, backend: FakeBackend
) -> Iterator[Served]:
    data = copy_data(tmp_path_factory.mktemp("stats") / "data")
    (data / "prices.toml").write_text("currency = 'EUR'\n[providers.fal-ai]\nper_video_second = 0.5")
    with Served(data, make_backend=lambda: backend, cinelet_prices=data / "prices.toml") as served:
        yield served


def key(served: Served, name: str, role: Role) -> dict[str, str]:
    _, secret = served.with_database(lambda database: Keys(database).create(name, role=role))
    return {"authorization": f"Bearer {secret}", "prefer": "wait=30"}


def ask(served: Served, headers: dict[str, str], **values: Any) -> dict[str, Any]:
    body = {"prompt": "a gull", "model": MODEL, **SHORT, **values}
    generation: dict[str, Any] = served.client.post("/v1/text-to-video", json=body, headers=headers).json()
    return generation


def stats(served: Served, headers: dict[str, str], **query: str) -> dict[str, Any]:
    reply = served.client.get("/v1/stats", params=query, headers=headers)
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    return told


def test_each_owner_is_told_of_his_own_and_an_administrator_of_all(served: Served, backend: FakeBackend) -> None:
    ann, bob, root = (
        key(served, name, role) for name, role in (("ann", Role.GENERATE), ("bob", Role.GENERATE), ("root", Role.ADMIN))
    )
    assert ask(served, ann)["state"] == "completed"
    ask(served, bob, model="embedded")
    backend.error = RateLimitError("slower", status=429)
    try:
        assert ask(served, ann)["state"] == "failed"
    finally:
        backend.error = None
    hers = stats(served, ann)
    assert (hers["object"], hers["window"], hers["owner"], hers["currency"]) == ("stats", "24h", "ann", "EUR")
    assert hers["until"] - hers["since"] == pytest.approx(86_400)
    (model,) = hers["models"]
    assert (model["model"], model["provider"], model["work_share"]) == (MODEL, "fal-ai", 1)
    assert (model["attempts"], model["succeeded"], model["failed"], model["success_rate"]) == (2, 1, 1, 0.5)
    assert (model["cost"], model["unpriced"], model["video_seconds"]) == (0.5, 0, 1)
    assert model["errors"] == [{"code": "rate_limited", "count": 1}]
    assert 0 < model["seconds_per_video_second"]["p50"] <= model["seconds_per_video_second"]["p95"]
    assert model["queue_seconds"]["p50"] is not None
    everybodys = stats(served, root)
    assert everybodys["owner"] is None
    assert {one["model"]: one["provider"] for one in everybodys["models"]} == {MODEL: "fal-ai", "embedded": "local"}
    assert everybodys["total"]["attempts"] == 3
    assert everybodys["total"]["unpriced"] == 1
    assert sum(one["work_share"] for one in everybodys["models"]) == pytest.approx(1, abs=1e-5)


def test_a_key_that_only_reads_sees_what_its_owner_sees(served: Served) -> None:
    nobody = stats(served, key(served, "eve", Role.READ), window="7d")
    assert (nobody["models"], nobody["queue"], nobody["more_models"]) == ([], [], 0)
    assert (nobody["total"]["attempts"], nobody["total"]["success_rate"]) == (0, None)
    assert (nobody["total"]["queue_seconds"], nobody["total"]["cost"]) == (NOBODY, None)
    assert served.client.get("/v1/stats").status_code == 401


def test_a_part_can_be_asked_for(served: Served) -> None:
    root = key(served, "root2", Role.ADMIN)
    ask(served, root)
    ask(served, root, model="embedded")
    assert {one["model"] for one in stats(served, root, model="org/name")["models"]} == {MODEL}
    assert {one["model"] for one in stats(served, root, provider="local")["models"]} == {"embedded"}
    assert stats(served, root, provider="nobody", model="embedded")["models"] == []
    assert stats(served, root, provider="\0")["models"] == []


def test_what_runs_next_is_told_for_each_task(served: Served) -> None:
    reply = served.client.get("/v1/stats/next", headers=key(served, "next", Role.READ))
    assert reply.status_code == 200
    told = {one["task"]: one for one in reply.json()["data"]}
    assert sorted(told) == ["image-to-video", "text-to-video"]
    assert told["text-to-video"]["order"] == []
    assert told["text-to-video"]["why_not"] == "nothing here chooses among models"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"window": "2w"}, "window"),
        ({"window": "31d"}, "window"),
        ({"window": "h" * 30}, "window"),
        ({"model": "no model"}, "model"),
        ({"model": ""}, "model"),
        ({"provider": "x" * 400}, "provider"),
    ],
)
def test_what_is_wrong_is_named(served: Served, query: dict[str, str], field: str) -> None:
    reply = served.client.get("/v1/stats", params=query, headers=key(served, f"wrong {query}"[:90], Role.READ))
    assert reply.status_code == 422
    assert reply.json()["error"]["param"] == field
