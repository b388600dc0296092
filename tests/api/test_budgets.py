"""Budgets over HTTP: what is granted, what is left, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from cinelet.jobs.keys import Keys
from cinelet.testing import FakeBackend
from tests.api.served import SHORT, Served

PRICES = """
[models."hf:org/priced:fal-ai"]
per_video_second = 0.5
"""
BODY = {"prompt": "a gull", "model": "hf:org/priced:fal-ai", **SHORT}


@pytest.fixture(scope="module")
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture(scope="module")
def served(
    copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory, backend: FakeBackend
) -> Iterator[Served]:
    data = copy_data(tmp_path_factory.mktemp("budgets") / "data")
    prices = data / "prices.toml"
    prices.write_text(PRICES)
    with Served(data, make_backend=lambda: backend, cinelet_prices=prices) as served:
        yield served


@pytest.fixture
def make_client(served: Served) -> Iterator[Callable[..., httpx2.Client]]:
    clients: list[httpx2.Client] = []

    def make(name: str, **limits: object) -> httpx2.Client:
        _, secret = served.with_database(lambda database: Keys(database).create(name, **limits))  # type: ignore[arg-type]
        headers = {"authorization": f"Bearer {secret}", "prefer": "wait=30"}
        clients.append(httpx2.Client(base_url=served.url, headers=headers, timeout=60, verify=False))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def ask(client: httpx2.Client, **values: object) -> httpx2.Response:
    return client.post("/v1/text-to-video", json={**BODY, **values})


def test_headers_tell_what_is_left_of_the_budget(make_client: Callable[..., httpx2.Client]) -> None:
    client = make_client("headers", budget_per_day=1.25)
    first = ask(client)
    assert first.json()["result"]["cost"] == 0.5
    assert first.headers["ratelimit-policy"] == '"budget";q=1250;w=86400;qu="milli-usd"'
    assert first.headers["ratelimit"] == '"budget";r=750;t=86400'
    assert ask(client).headers["ratelimit"] == '"budget";r=250;t=86400'
    refused = ask(client)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert refused.json()["error"]["message"].startswith(
        "This key may spend 1.25 USD in 24 hours, and this would make it 1.50 USD"
    )
    assert refused.headers["ratelimit"] == f'"budget";r=0;t={refused.headers["retry-after"]}'
    assert client.get("/v1/me").json()["limits"]["budget_per_day"] == 1.25


def test_a_generation_that_fails_costs_nothing(make_client: Callable[..., httpx2.Client], backend: FakeBackend) -> None:
    client = make_client("failing", budget_per_day=0.5)
    backend.error = ValueError("broken")
    try:
        assert ask(client).json()["state"] == "failed"
    finally:
        backend.error = None
    assert ask(client).json()["state"] == "completed"
    assert ask(client).status_code == 429


def test_a_video_that_may_cost_more_than_the_whole_budget_is_wrong_and_not_too_early(
    make_client: Callable[..., httpx2.Client],
) -> None:
    client = make_client("small", budget_per_day=0.4)
    refused = ask(client)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (422, "invalid_request", "model")
    assert error["message"].startswith("This key may spend 0.40 USD in 24 hours, and this asks for what may cost 0.50")
    assert "retry-after" not in refused.headers
    assert client.get("/v1/generations").json()["data"] == []


def test_a_model_without_a_price_is_refused_with_what_to_do(make_client: Callable[..., httpx2.Client]) -> None:
    client = make_client("unpriced", budget_per_day=5)
    refused = ask(client, model="hf:org/other")
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", "model")
    assert "what hf:org/other costs is in no table of prices; name a model that has a price" in error["message"]
    video = client.post("/v1/videos", json={"prompt": "a gull", "model": "hf:org/other", "seconds": "1"})
    assert video.status_code == 422
    assert client.get("/v1/generations").json()["data"] == []


def test_what_is_asked_for_at_once_never_spends_more_than_there_is(make_client: Callable[..., httpx2.Client]) -> None:
    client = make_client("at-once", budget_per_day=2)
    with ThreadPoolExecutor(12) as threads:
        replies = list(threads.map(lambda n: ask(client, prompt=f"gull {n}"), range(12)))
    assert sorted(reply.status_code for reply in replies) == [200] * 4 + [429] * 8


def test_a_batch_beyond_the_budget_is_refused_as_a_whole(make_client: Callable[..., httpx2.Client]) -> None:
    client = make_client("batches", budget_per_day=1)
    lines = [{**BODY, "prompt": f"gull {number}"} for number in range(3)]
    assert client.post("/v1/batches", json={"requests": lines}).status_code == 422, "no day has room for it"
    taken = client.post("/v1/batches", json={"requests": lines[:2]})
    assert taken.status_code == 202
    assert taken.headers["ratelimit"] == '"budget";r=0;t=86400'
    assert client.post("/v1/batches", json={"requests": lines[:2]}).status_code == 429


def test_without_a_budget_no_price_is_needed(make_client: Callable[..., httpx2.Client]) -> None:
    reply = ask(make_client("free"), model="hf:org/other")
    assert reply.status_code == 200
    assert (reply.json()["result"]["cost"], reply.json()["result"]["currency"]) == (None, "USD")
    assert "ratelimit-policy" not in reply.headers
