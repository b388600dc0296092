"""`/v1/events`: one stream of everything that the caller sees, and a generation's place in the queue."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Queue
from typing import Any

import httpx2
import pytest

from cinelet.jobs.keys import Keys, Role
from cinelet.testing import FakeBackend
from tests.api.served import SHORT, Served, made

SECONDS = 20


@pytest.fixture
def idle(copy_data: Callable[[Path], Path], tmp_path: Path) -> Iterator[Served]:
    """A service without workers: what is asked for stays queued."""
    with Served(copy_data(tmp_path / "data"), make_backend=FakeBackend, worker=False) as served:
        yield served


@pytest.fixture
def client_of(idle: Served) -> Iterator[Callable[..., httpx2.Client]]:
    """Return what makes a key, and a client that sends it."""
    with ExitStack() as clients:

        def make(name: str, **values: Any) -> httpx2.Client:
            _, secret = idle.with_database(lambda database: Keys(database).create(name, **values))
            headers = {"authorization": f"Bearer {secret}"}
            return clients.enter_context(
                httpx2.Client(base_url=idle.url, headers=headers, timeout=SECONDS, verify=False)
            )

        yield make


def watching(client: httpx2.Client, **headers: str) -> Callable[[], tuple[str, str | None, Any]]:
    """Return what returns the next event: its name, its id and its data; an end of the stream is named "end"."""
    told: Queue[tuple[str, str | None, Any]] = Queue()

    def follow() -> None:
        with (
            suppress(httpx2.TransportError),
            httpx2.Client(base_url=client.base_url, headers=client.headers, timeout=60, verify=False) as own,
            own.stream("GET", "/v1/events", headers=headers) as reply,
        ):
            assert reply.headers["content-type"].startswith("text/event-stream")
            fields: dict[str, str] = {}
            for line in reply.iter_lines():
                name, colon, value = line.partition(": ")
                if colon and name:
                    fields[name] = value
                elif not line and fields:
                    told.put((fields["event"], fields.get("id"), json.loads(fields["data"])))
                    fields = {}
        told.put(("end", None, None))

    def following() -> tuple[str, str | None, Any]:
        return told.get(timeout=SECONDS)

    threading.Thread(target=follow, daemon=True).start()  # until the service stops
    assert following() == ("ready", None, {})
    return following


def test_every_change_is_told_and_an_end_with_its_generation(client: httpx2.Client) -> None:
    following = watching(client)
    generation = made(client, "watched")
    told: list[dict[str, Any]] = []
    positions: list[int] = []
    while not told or told[-1]["state"] != "completed":
        name, position, data = following()
        assert (name, data["id"]) == ("generation", generation["id"])
        positions.append(int(position or 0))
        told.append(data)
    assert told[0]["state"] == "queued"
    assert told[0]["position"] in {0, None}, "None where a worker has begun before the look"
    assert positions == sorted(positions)
    assert told[-1]["generation"] == client.get(f"/v1/generations/{generation['id']}").json()
    assert all("generation" not in data for data in told[:-1])
    alone = client.get(f"/v1/generations/{generation['id']}/events").text
    last = json.loads(alone.replace("\r\n", "\n").strip().rpartition("data: ")[2])
    assert {**last, "id": generation["id"]} == told[-1]


def test_nothing_from_before_is_repeated(client: httpx2.Client) -> None:
    made(client, "before")
    following = watching(client, **{"last-event-id": "1"})
    after = client.post("/v1/text-to-video", json={"prompt": "after", **SHORT}).json()["id"]
    assert following()[2]["id"] == after


def test_a_tenant_hears_of_his_own_and_an_administrator_of_all(client_of: Callable[..., httpx2.Client]) -> None:
    alice, bob = client_of("alice"), client_of("bob")
    root, reader = client_of("root", role=Role.ADMIN), client_of("r", owner="alice", role=Role.READ)
    hers, his, everybodys, read = map(watching, (alice, bob, root, reader))
    first = bob.post("/v1/text-to-video", json={"prompt": "his", **SHORT}).json()["id"]
    second = alice.post("/v1/text-to-video", json={"prompt": "hers", **SHORT}).json()["id"]
    alice.post(f"/v1/generations/{second}/cancel")
    assert [hers()[2]["id"] for _ in range(2)] == [second] * 2
    assert [read()[2]["id"] for _ in range(2)] == [second] * 2
    assert his()[2]["id"] == first
    assert [everybodys()[2]["id"] for _ in range(3)] == [first, second, second]
    bob.post(f"/v1/generations/{first}/cancel")
    assert (his()[2]["id"], everybodys()[2]["id"]) == (first, first)
    bob.delete(f"/v1/generations/{first}")
    third = alice.post("/v1/text-to-video", json={"prompt": "hers", **SHORT}).json()["id"]
    assert (hers()[2]["id"], everybodys()[2]["id"]) == (third, third), "nothing is told of a deleted one"


def test_a_stop_of_the_service_ends_the_stream(idle: Served) -> None:
    following = watching(idle.client)
    idle._loop.call_soon_threadsafe(idle.app.state.cinelet.jobs.events.end_watches)
    assert following()[0] == "end"


def test_a_generation_says_how_many_wait_before_it_until_it_does_not_wait(idle: Served) -> None:
    ids = [idle.client.post("/v1/text-to-video", json={"prompt": "x", **SHORT}).json()["id"] for _ in range(3)]

    def positions() -> list[int | None]:
        return [idle.client.get(f"/v1/generations/{name}").json()["position"] for name in ids]

    assert positions() == [0, 1, 2]
    idle.client.post(f"/v1/generations/{ids[0]}/cancel")
    assert positions() == [None, 0, 1]
    assert {one["position"] for one in idle.client.get("/v1/generations").json()["data"]} == {None}


def test_a_list_is_filtered_by_a_part_of_the_prompt(idle: Served) -> None:
    for prompt in ("A Red Circle", "a blue square", "100 % red_white"):
        idle.client.post("/v1/text-to-video", json={"prompt": prompt, **SHORT})

    def found(text: str, **query: str) -> list[str]:
        page = idle.client.get("/v1/generations", params={"text": text, **query}).json()
        return [one["request"]["prompt"] for one in page["data"]]

    assert found("rED") == ["100 % red_white", "A Red Circle"]
    assert found("red c", state="queued") == ["A Red Circle"]
    assert found("red", state="completed") == []
    assert found("%") == found("D_W") == ["100 % red_white"]
    for text in ("", "x" * 201):
        assert idle.client.get("/v1/generations", params={"text": text}).status_code == 422
