"""`POST /v1/estimate`: how long a video would take, from what others took here."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from cinelet.clock import SystemClock
from cinelet.domain.backend import Capabilities
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task
from cinelet.domain.sizes import SizeRule
from cinelet.resilience import FallbackBackend
from cinelet.resilience.prices import PriceTable
from cinelet.testing import FakeBackend
from tests.api.served import SHORT, Served, made
from tests.resilience.doubles import as_named, selector

NOTHING_KNOWN = dict.fromkeys(("success", "seconds", "low", "high", "cost")) | {"samples": 0, "explored": False}


def test_an_estimate_is_of_what_the_model_made_here(client: httpx2.Client) -> None:
    end = time.monotonic() + 20
    while client.post("/v1/estimate", json={}).json()["waiting"] is None:  # until the worker has said that it is there
        assert time.monotonic() < end
    unknown = client.post("/v1/estimate", json={}).json()
    assert unknown == {
        "object": "estimate",
        "requested_model": "embedded",
        "model": "embedded",
        "why": "as it is named",
        "order": [{**NOTHING_KNOWN, "model": "embedded", "why": "as it is named"}],
        "left_out": [],
        "cost": None,
        "currency": "USD",
        "cost_basis": "there is no price table (CINELET_PRICES)",
        "adjustments": [],
        "seconds": None,
        "low": None,
        "high": None,
        "samples": 0,
        "waiting": 0.0,
        "basis": "no video of this model has been made and timed here yet",
    }
    for number in range(2):
        made(client, f"gull {number}")
    known = client.post("/v1/estimate", json={"model": "embedded", "prompt": "a gull", **SHORT}).json()
    assert 0 < known["low"] <= known["seconds"] <= known["high"] or known["seconds"] == 0
    assert (known["samples"], known["waiting"]) == (2, 0.0)
    assert known["basis"].startswith("2 videos of this model")


def test_where_no_worker_runs_nobody_knows_when_it_begins(copy_data: Callable[[Path], Path], tmp_path: Path) -> None:
    with Served(copy_data(tmp_path / "data"), make_backend=FakeBackend, worker=False) as served:
        assert served.client.post("/v1/estimate", json={}).json()["waiting"] is None


def test_no_image_is_needed(client: httpx2.Client) -> None:
    assert client.post("/v1/estimate", json={"task": "image-to-video", "image_fit": "pad"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"speed": 3}, "speed"),
        ({"fps": 0}, "fps"),
        ({"fps": "8"}, "fps"),
        ({"priority": False}, "priority"),
        ({"duration": 10_000}, "duration"),
        ({"width": 64}, "width"),
        ({"model": "../x"}, "model"),
        ({"task": "video-to-video"}, "task"),
        ({"prompt": " "}, "prompt"),
        ({"image": "data:"}, "image"),
        ({"webhook_url": "http://example.org/hook"}, "webhook_url"),
        ({"webhook_url": "https://10.0.0.1/hook"}, "webhook_url"),
    ],
)
def test_what_could_not_be_asked_for_is_refused_by_name(client: httpx2.Client, body: object, field: str) -> None:
    reply = client.post("/v1/estimate", json=body)
    assert reply.status_code == 422
    assert field in str(reply.json()["error"])


class OneSize(FakeBackend):
    """Makes one size, as the embedded model does."""

    async def capabilities(self, model: ModelReference) -> Capabilities:
        said = await super().capabilities(model)
        return dataclasses.replace(said, size_rule=SizeRule(1, ((192, 192),)))


def test_an_estimate_is_of_the_size_that_would_be_made_and_says_so(
    copy_data: Callable[[Path], Path], tmp_path: Path
) -> None:
    def make_backend() -> FallbackBackend:
        backend = OneSize(step_seconds=0.05, size=(192, 192))
        chooser = selector(backend, auto_models=dict.fromkeys(Task, ()), cost=PriceTable().cost, clock=SystemClock())
        return FallbackBackend(backend, expand=as_named, fallbacks={}, clock=SystemClock(), selector=chooser)

    with Served(copy_data(tmp_path / "data"), make_backend=make_backend) as served:
        made(served.client)
        small, own, large = (
            served.client.post("/v1/estimate", json={**SHORT, "width": side, "height": side}).json()
            for side in (64, 192, 1024)
        )
    (change,) = small["adjustments"]
    assert (change["parameter"], change["requested"], change["applied"]) == ("size", "64x64", "192x192")
    assert own["adjustments"] == []
    assert 0 < own["seconds"] == small["seconds"] == large["seconds"]
