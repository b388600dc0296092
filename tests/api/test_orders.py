"""Administrators have models loaded and unloaded over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cinelet.testing import FakeBackend
from tests.api.served import Served

SECONDS = 60.0
ORDERS = "/v1/admin/models/orders"


@pytest.fixture(scope="module")
def waiting(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service without workers."""
    data = copy_data(tmp_path_factory.mktemp("waiting") / "data")
    with Served(data, make_backend=FakeBackend, worker=False) as served:
        yield served


def ordered(served: Served, **body: Any) -> dict[str, Any]:
    """Give an order and return it when it has ended."""
    end = time.monotonic() + SECONDS
    while (reply := served.client.post(ORDERS, json=body)).status_code == 503:
        assert time.monotonic() < end, "the worker does not come"  # it has just been started
        time.sleep(0.05)
    assert reply.status_code == 202, reply.text
    order: dict[str, Any] = reply.json()
    assert (order["object"], order["action"], order["model"]) == ("model.order", body["action"], body["model"])
    while order["state"] in {"waiting", "running"}:
        assert time.monotonic() < end, order
        time.sleep(0.05)
        order = served.client.get(f"{ORDERS}/{order['id']}").json()
    return order


def test_the_embedded_model_is_loaded_seen_and_unloaded(served: Served) -> None:
    order = ordered(served, action="load", model="embedded")
    (row,) = order["workers"]
    assert row["error"] is None
    assert (order["state"], row["state"], row["error"], row["unloaded"]) == ("done", "done", None, None)
    assert row["started_at"] <= row["ended_at"]
    assert 0 < row["seconds"] < SECONDS
    loaded = row["loaded"]
    assert (loaded["model"], loaded["device"]) == ("embedded", "cpu")
    assert loaded["bytes"] == pytest.approx(loaded["estimated_bytes"], rel=0.05)
    (row,) = ordered(served, action="unload", model="embedded")["workers"]
    assert (row["unloaded"], row["loaded"]) == (True, None)
    (row,) = ordered(served, action="unload", model="embedded")["workers"]
    assert row["unloaded"] is False


def test_a_load_that_fails_says_why(served: Served) -> None:
    order = ordered(served, action="load", model="local:./no-such-folder")
    (row,) = order["workers"]
    assert (order["state"], row["state"], row["loaded"], row["seconds"]) == ("failed", "failed", None, None)
    assert row["error"]["code"] == "model_not_found"
    assert "no-such-folder" in row["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"action": "load", "model": "no model"}, 422, "invalid_request"),
        ({"action": "eat", "model": "embedded"}, 422, "invalid_request"),
        ({"action": "load", "model": "embedded", "timeout_seconds": 0}, 422, "invalid_request"),
        ({"action": "load", "model": "embedded", "timeout_seconds": True}, 422, "invalid_request"),
        ({"action": "load", "model": "embedded", "device": "cpu"}, 422, "invalid_request"),
        ({"action": "load", "model": "hf:org/name"}, 422, "model_unsupported"),
        ({"action": "load", "model": "embedded"}, 503, "no_worker"),
    ],
)
def test_what_cannot_be_done_is_refused(waiting: Served, body: dict[str, Any], status: int, code: str) -> None:
    reply = waiting.client.post(ORDERS, json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text


def test_what_cannot_be_loaded_here_names_the_field_that_says_what(waiting: Served) -> None:
    error = waiting.client.post(ORDERS, json={"action": "load", "model": "hf:org/name"}).json()["error"]
    assert (error["param"], error["details"]["model"]) == ("model", "hf:org/name")


@pytest.mark.parametrize("order_id", ["ord_0", "%00", "x" * 4000])
def test_an_order_that_there_is_not_is_not_found(waiting: Served, order_id: str) -> None:
    reply = waiting.client.get(f"{ORDERS}/{order_id}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "order_not_found")
