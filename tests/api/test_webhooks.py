"""Webhooks over HTTP: asked for with a video, listed, and delivered again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cinelet.jobs.keys import Keys, Role
from cinelet.jobs.webhook_secrets import WebhookSecrets
from cinelet.testing import FakeBackend, example_image
from tests.api.served import Served, unnamed
from tests.fake_providers.server import LoopbackServer
from tests.jobs.post_office import verified
from tests.transport.loopback import Asked

SECONDS = 30.0
SHORT = {"prompt": "a gull", "duration": 1, "fps": 4}
NOWHERE = "evt_" + "a" * 26


class Receiver:
    """Takes every webhook, and keeps what it was sent."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.server = LoopbackServer(self)
        self.url = f"http://127.0.0.1:{self.server.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        headers = httpx2.Headers(request.headers.raw)
        self.asked.append(Asked(request.method, request.url.path, headers, await request.body()))
        await Response(status_code=204)(scope, receive, send)

    def told(self, generation_id: str) -> Asked:
        """Wait for what is said of a generation."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for asked in list(self.asked):
                if generation_id.encode() in asked.body:
                    return asked
            time.sleep(0.02)
        raise AssertionError("the webhook does not come")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.stop()


@pytest.fixture(scope="module")
def served(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with a key, whose webhooks may lead to this machine."""
    data = copy_data(tmp_path_factory.mktemp("webhooks") / "data")
    with Served(data, make_backend=FakeBackend, cinelet_webhook_allow_private=True) as served:
        yield served


@pytest.fixture
def make_client(served: Served) -> Iterator[Callable[..., httpx2.Client]]:
    """Return what makes a client with a key of its own."""
    clients: list[httpx2.Client] = []

    def make(name: str, **values: Any) -> httpx2.Client:
        _, secret = served.with_database(lambda database: Keys(database).create(name, **values))
        headers = {"authorization": f"Bearer {secret}"}
        clients.append(httpx2.Client(base_url=served.url, headers=headers, timeout=30, verify=False))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def secret_of(served: Served, owner: str) -> str:
    return served.with_database(lambda database: WebhookSecrets(database).current(owner))


def text(client: httpx2.Client, url: str) -> httpx2.Response:
    return client.post("/v1/text-to-video", json={**SHORT, "webhook_url": url})


def image(client: httpx2.Client, url: str) -> httpx2.Response:
    form = {"prompt": "it moves", "duration": "1", "fps": "4", "webhook_url": url}
    return client.post("/v1/image-to-video", data=form, files={"image": example_image(height=32)})


def openai_form(client: httpx2.Client, url: str) -> httpx2.Response:
    return client.post("/v1/videos", data={"prompt": "a gull", "seconds": "1", "fps": "4", "webhook_url": url})


@pytest.mark.parametrize("ask", [text, image, openai_form], ids=lambda ask: ask.__name__)
def test_each_way_to_ask_for_a_video_takes_a_webhook(
    served: Served, make_client: Callable[..., httpx2.Client], receiver: Receiver, ask: Any
) -> None:
    client = make_client("shop", owner=f"shop {ask.__name__}")
    reply = ask(client, f"{receiver.url}/{ask.__name__}")
    assert reply.is_success, reply.text
    made = reply.json()["id"]
    told = receiver.told(made)
    assert told.target == f"/{ask.__name__}"
    event = verified(told, secret_of(served, f"shop {ask.__name__}"))
    assert (event["type"], event["data"]["id"]) == ("video.completed", made)
    shown = client.get(f"/v1/generations/{made}").json()
    assert shown["request"]["webhook_url"] == f"{receiver.url}/{ask.__name__}"


def test_a_key_has_a_webhook_of_its_own_for_what_names_none(
    make_client: Callable[..., httpx2.Client], receiver: Receiver
) -> None:
    client = make_client("standing", webhook_url=f"{receiver.url}/standing")
    made = client.post("/v1/text-to-video", json=SHORT).json()["id"]
    own = text(client, f"{receiver.url}/own").json()["id"]
    remixed = client.post(f"/v1/videos/{made}/remix", json={"prompt": "two gulls"}).json()["id"]
    assert [receiver.told(one).target for one in (made, own, remixed)] == ["/standing", "/own", "/standing"]
    assert "webhook_url" not in client.get(f"/v1/generations/{made}").json()["request"]


def test_each_line_of_a_batch_has_its_own_webhook_or_that_of_the_key(
    make_client: Callable[..., httpx2.Client], receiver: Receiver
) -> None:
    client = make_client("many", webhook_url=f"{receiver.url}/many")
    lines = [SHORT, {**SHORT, "webhook_url": f"{receiver.url}/one"}, {**SHORT, "webhook_url": "ftp://example.org/"}]
    batch = client.post("/v1/batches", json={"requests": lines}).json()
    assert batch["counts"]["failed"] == 1
    results = client.get(f"/v1/batches/{batch['id']}/results").text.splitlines()
    made = [json.loads(line) for line in results]
    assert "webhook_url" in made[2]["error"]["details"]
    assert [receiver.told(line["id"]).target for line in made[:2]] == ["/many", "/one"]


@pytest.mark.parametrize("ask", [text, image, openai_form], ids=lambda ask: ask.__name__)
@pytest.mark.parametrize("url", ["ftp://example.org/", "https://user@example.org/", "https://", "x" * 3000, "\x00"])
def test_a_wrong_address_is_refused_by_name(
    make_client: Callable[..., httpx2.Client], ask: Callable[..., httpx2.Response], url: str
) -> None:
    reply = ask(make_client("wrong"), url)
    assert reply.status_code == 422
    assert (reply.json()["error"]["code"], reply.json()["error"]["param"]) == ("invalid_request", "webhook_url")
    assert "user@" not in reply.text


def test_the_same_idempotency_key_with_another_receiver_is_another_request(
    make_client: Callable[..., httpx2.Client], receiver: Receiver
) -> None:
    client = make_client("repeats")
    headers = {"idempotency-key": "order"}
    replies = [
        client.post("/v1/text-to-video", json={**SHORT, "webhook_url": f"{receiver.url}/{name}"}, headers=headers)
        for name in ("a", "a", "b")
    ]
    assert [reply.status_code for reply in replies] == [202, 202, 422]
    assert replies[0].json()["id"] == replies[1].json()["id"]
    assert replies[2].json()["error"]["code"] == "idempotency_conflict"


def test_an_owner_sees_his_own_deliveries_and_delivers_them_again(
    make_client: Callable[..., httpx2.Client], receiver: Receiver
) -> None:
    alice, bob = (make_client(name) for name in ("alice", "bob"))
    root = make_client("root", role=Role.ADMIN)
    made = [text(alice, f"{receiver.url}/hook").json()["id"] for _ in range(3)]
    for one in made:
        receiver.told(one)
    first = alice.get("/v1/webhooks/deliveries", params={"limit": 2}).json()
    second = alice.get("/v1/webhooks/deliveries", params={"limit": 2, "after": first["next"]}).json()
    assert len(first["data"]) == 2
    assert {one["generation_id"] for one in first["data"] + second["data"]} == set(made)
    assert second["next"] is None
    name = first["data"][0]["id"]
    assert bob.get("/v1/webhooks/deliveries").json() == {"data": [], "next": None}
    assert name in {one["id"] for one in root.get("/v1/webhooks/deliveries", params={"limit": 100}).json()["data"]}
    refused = [bob.post(f"/v1/webhooks/deliveries/{one}/redeliver") for one in (name, NOWHERE, "x" * 4000)]
    assert {(one.status_code, one.json()["error"]["code"]) for one in refused} == {(404, "delivery_not_found")}
    assert len({str(unnamed(one.json())) for one in refused}) == 1
    receiver.asked.clear()
    again = alice.post(f"/v1/webhooks/deliveries/{name}/redeliver")
    assert (again.status_code, again.json()["state"], again.json()["attempts"]) == (202, "pending", 0)
    assert receiver.told(again.json()["generation_id"]).headers["webhook-id"] == name
    assert bob.get("/v1/webhooks/deliveries", params={"after": "nonsense"}).status_code == 404
