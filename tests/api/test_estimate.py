"""`POST /v1/estimate`: how long a video would take, from what others took here."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from cinelet.testing import FakeBackend
from tests.api.served import SHORT, Served, made

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
    ],
)
def test_what_could_not_be_asked_for_is_refused_by_name(client: httpx2.Client, body: object, field: str) -> None:
    reply = client.post("/v1/estimate", json=body)
    assert reply.status_code == 422
    assert field in str(reply.json()["error"])
