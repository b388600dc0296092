"""Batches over HTTP: sent in three forms, followed, fetched line by line, cancelled."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cinelet.api.batch_body import LINES_KINDS
from cinelet.jobs.keys import Keys, Role
from cinelet.testing import FakeBackend, example_image
from tests.api.served import Served, unnamed

SECONDS = 30
SHORT = {"duration": 1, "fps": 4}
NOWHERE = "batch_" + "a" * 26


def asked(prompt: str = "a gull", **values: Any) -> dict[str, Any]:
    return {"prompt": prompt, **SHORT, **values}


def sent(client: httpx2.Client, *requests: Any, **options: Any) -> dict[str, Any]:
    reply = client.post("/v1/batches", json={"requests": requests}, **options)
    assert reply.status_code == 202, reply.text
    batch: dict[str, Any] = reply.json()
    assert reply.headers["location"] == f"/v1/batches/{batch['id']}"
    return batch


def over(client: httpx2.Client, batch: dict[str, Any]) -> dict[str, Any]:
    end = time.monotonic() + SECONDS
    while (seen := client.get(f"/v1/batches/{batch['id']}").json())["state"] == "in_progress":
        assert time.monotonic() < end, seen
        time.sleep(0.05)
    found: dict[str, Any] = seen
    return found


def results(client: httpx2.Client, batch: dict[str, Any]) -> list[dict[str, Any]]:
    reply = client.get(f"/v1/batches/{batch['id']}/results")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/jsonl")
    return [json.loads(line) for line in reply.text.splitlines()]


def jsonl(*requests: Any) -> bytes:
    return "\n".join(map(json.dumps, requests)).encode()


def test_a_batch_is_made_and_each_line_says_where_its_video_is(client: httpx2.Client) -> None:
    batch = sent(client, *(asked(f"gull {n}", custom_id=f"order-{n}") for n in range(3)))
    assert batch["counts"] | {"queued": 3, "total": 3} == batch["counts"]
    done = over(client, batch)
    assert done["counts"] == {
        "total": 3, "queued": 0, "in_progress": 0, "completed": 3, "failed": 0, "cancelled": 0, "deleted": 0,
    }  # fmt: skip
    assert done["finished_at"] >= done["created_at"]
    lines = results(client, batch)
    assert [(line["line"], line["custom_id"], line["state"]) for line in lines] == [
        (n + 1, f"order-{n}", "completed") for n in range(3)
    ]
    for line in lines:
        assert client.get(line["video"]).headers["content-type"] == "video/mp4"
        assert line["generation"] == client.get(f"/v1/generations/{line['id']}").json()
        assert line["error"] is None


@pytest.mark.parametrize("form", [*LINES_KINDS, "multipart"])
def test_lines_come_as_a_body_or_as_a_file(client: httpx2.Client, form: str) -> None:
    # A byte order mark, both line ends, an empty line, and what parts lines of text but not of JSON.
    content = (
        b"\xef\xbb\xbf"
        + jsonl(asked("one"))
        + b"\r\n\r\n"
        + json.dumps(asked("two\u2028\x85"), ensure_ascii=False).encode()
    )
    if form == "multipart":
        reply = client.post("/v1/batches", files={"file": ("x", content)}, data={"metadata": '{"for": "shop"}'})
    else:
        reply = client.post("/v1/batches", content=content, headers={"content-type": form})
    assert reply.status_code == 202, reply.text
    batch = reply.json()
    assert batch["metadata"] == ({"for": "shop"} if form == "multipart" else {})
    assert over(client, batch)["counts"]["completed"] == 2
    assert [(line["line"], line["generation"]["request"]["prompt"]) for line in results(client, batch)] == [
        (1, "one"),
        (3, "two\u2028\x85"),
    ]


def test_a_bad_line_is_told_by_its_number_and_stops_no_other(client: httpx2.Client) -> None:
    lines = [
        jsonl(asked("good")),
        b'{"prompt": "cut o',
        b'"a text"',
        b"\xff\xfe",
        jsonl(asked("secret gull", fps=99, custom_id="mine")),
        jsonl(asked(nobody=1)),
        jsonl(asked(model="a b")),
        jsonl(asked(custom_id="\0")),
        jsonl(asked(image="https://127.0.0.1/x.png")),
        jsonl(asked("good too", image=None)),
    ]
    reply = client.post("/v1/batches", content=b"\n".join(lines), headers={"content-type": LINES_KINDS[0]})
    batch = reply.json()
    assert over(client, batch)["counts"] | {"completed": 2, "failed": 8} == over(client, batch)["counts"]
    found = results(client, batch)
    assert [line["state"] for line in found] == ["completed", *["failed"] * 8, "completed"]
    assert found[4]["custom_id"] == "mine"
    assert [next(iter(line["error"]["details"])) for line in found[1:-1]] == [
        "line", "line", "line", "fps", "nobody", "model", "custom_id", "image",
    ]  # fmt: skip
    assert "secret gull" not in json.dumps(found[4])


def test_where_every_line_is_bad_the_batch_is(client: httpx2.Client) -> None:
    reply = client.post("/v1/batches", json={"requests": [asked(fps=0), asked("")]})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (422, "invalid_request")
    assert list(error["details"]["details"]) == ["line 1", "line 2"]
    assert "fps" in error["message"]


@pytest.mark.parametrize(
    ("kind", "content", "param"),
    [
        ("application/json", b"{", "body"),
        ("application/json", b"[]", "body"),
        ("application/json", b"{}", "requests"),
        ("application/json", b'{"requests": []}', "requests"),
        ("application/json", b'{"requests": [1], "more": 1}', "more"),
        ("application/json", b'{"requests": [1], "metadata": {"a": 1}}', "metadata.a"),
        ("application/json", b'{"requests": %s}' % (b"[" * 100_000), "body"),
        ("application/jsonl", b"", "file"),
        ("application/jsonl", b"\n \n", "file"),
        ("application/jsonl", b"{}\n" * 10_001, "file"),
        ("text/plain", b"{}", "content-type"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", "file"),
    ],
)
def test_what_is_no_batch_is_refused(client: httpx2.Client, kind: str, content: bytes, param: str) -> None:
    reply = client.post("/v1/batches", content=content, headers={"content-type": kind})
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, param), reply.text


def test_an_image_of_a_line_reaches_the_model(client: httpx2.Client, backend: FakeBackend) -> None:
    image = example_image(width=56)
    uri = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    batch = sent(client, asked("with an image", image=uri), asked("without"), asked("with none", image="data:,x"))
    assert [line["state"] for line in results(client, over(client, batch))] == ["completed", "completed", "failed"]
    assert [request.image for request in backend.requests if request.prompt == "with an image"] == [image]


def test_results_may_be_asked_for_while_the_batch_runs_and_a_cancel_ends_it(
    client: httpx2.Client, backend: FakeBackend
) -> None:
    backend.step_seconds = 1
    try:
        batch = sent(client, *(asked(f"slow {n}", num_inference_steps=100) for n in range(30)))
        end = time.monotonic() + SECONDS
        while not any(line["state"] == "in_progress" for line in results(client, batch)):
            assert time.monotonic() < end
            time.sleep(0.05)
        found = results(client, batch)
        assert {line["video"] for line in found} == {None}
        assert len(found) == 30
        cancelled = client.post(f"/v1/batches/{batch['id']}/cancel").json()
        assert cancelled["cancel_requested"]
        assert cancelled["counts"]["queued"] == 0
        assert cancelled["counts"]["cancelled"] >= 20
        done = over(client, batch)
    finally:
        backend.step_seconds = 0
    assert (done["state"], done["counts"]["cancelled"]) == ("cancelled", 30)
    again = client.post(f"/v1/batches/{batch['id']}/cancel")
    assert (again.status_code, again.json()) == (200, done)


def test_batches_are_listed_in_pages_and_generations_by_batch(client: httpx2.Client) -> None:
    ids = [sent(client, asked(f"{n} a"), asked(f"{n} b"))["id"] for n in range(3)]
    first = client.get("/v1/batches", params={"limit": 2}).json()
    second = client.get("/v1/batches", params={"limit": 1, "after": first["next"]}).json()
    assert [batch["id"] for batch in first["data"] + second["data"]] == ids[::-1]
    over(client, {"id": ids[1]})
    of_one = client.get("/v1/generations", params={"batch": ids[1]}).json()["data"]
    assert [generation["request"]["prompt"] for generation in of_one] == ["1 b", "1 a"]
    assert client.get("/v1/generations", params={"batch": "\0"}).json()["data"] == []
    assert client.get("/v1/batches", params={"after": "%"}).status_code == 404


def test_one_idempotency_key_makes_one_batch_in_whatever_form_it_is_sent(client: httpx2.Client) -> None:
    headers = {"idempotency-key": "monday"}
    requests = [asked("same"), asked("other")]
    with ThreadPoolExecutor(8) as threads:
        ids = {batch["id"] for batch in threads.map(lambda _: sent(client, *requests, headers=headers), range(16))}
    for form in ({"files": {"file": ("x", jsonl(*requests))}}, {"content": jsonl(*requests)}):
        kind = {"content-type": "application/jsonl"} if "content" in form else {}
        reply = client.post("/v1/batches", headers={**headers, **kind}, **form)
        ids.add(reply.json()["id"])
    assert len(ids) == 1
    other = client.post("/v1/batches", json={"requests": requests[:1]}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_conflict")
    assert over(client, {"id": ids.pop()})["counts"]["total"] == 2


@pytest.fixture(scope="module")
def closed(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service without workers that needs keys."""
    data = copy_data(tmp_path_factory.mktemp("closed") / "data")
    with Served(data, make_backend=FakeBackend, worker=False) as served:
        yield served


@pytest.fixture
def make_client(closed: Served) -> Iterator[Callable[..., httpx2.Client]]:
    clients: list[httpx2.Client] = []

    def make(name: str, **values: Any) -> httpx2.Client:
        _, secret = closed.with_database(lambda database: Keys(database).create(name, **values))
        headers = {"authorization": f"Bearer {secret}"}
        clients.append(httpx2.Client(base_url=closed.url, headers=headers, timeout=30, verify=False))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_a_batch_of_somebody_else_is_answered_like_one_that_does_not_exist(
    make_client: Callable[..., httpx2.Client],
) -> None:
    alice, bob, root = make_client("alice"), make_client("bob"), make_client("root", role=Role.ADMIN)
    batch = sent(alice, asked(), headers={"idempotency-key": "k"})
    for method, way in (("GET", ""), ("GET", "/results"), ("POST", "/cancel")):
        replies = [bob.request(method, f"/v1/batches/{name}{way}") for name in (batch["id"], NOWHERE)]
        assert [reply.status_code for reply in replies] == [404, 404]
        assert unnamed(replies[0].json()) == unnamed(replies[1].json())
        assert replies[0].json()["error"]["code"] == "batch_not_found"
    assert bob.get("/v1/batches").json()["data"] == []
    assert bob.get("/v1/generations", params={"batch": batch["id"]}).json()["data"] == []
    assert sent(bob, asked("of bob"), headers={"idempotency-key": "k"})["id"] != batch["id"]
    assert [found["id"] for found in alice.get("/v1/batches").json()["data"]] == [batch["id"]]
    assert root.post(f"/v1/batches/{batch['id']}/cancel").json()["state"] == "cancelled"


def test_a_batch_beyond_a_limit_of_its_key_is_refused_whole(make_client: Callable[..., httpx2.Client]) -> None:
    busy, daily = make_client("busy", running=3), make_client("daily", video_seconds_per_day=3)
    for client, left in ((busy, '"running";r=0;t=5'), (daily, '"video-seconds";r=0')):
        batch = sent(client, *(asked(str(n)) for n in range(2)))
        reply = client.post("/v1/batches", json={"requests": [asked(str(n)) for n in range(2)]})
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limited")
        assert int(reply.headers["retry-after"]) > 0
        assert reply.headers["ratelimit"].startswith(left)
        assert [one["id"] for one in client.get("/v1/batches").json()["data"]] == [batch["id"]]
        assert client.post("/v1/text-to-video", json=asked()).status_code == 202
        assert client.post("/v1/text-to-video", json=asked()).status_code == 429
        assert client.get(f"/v1/batches/{batch['id']}").json()["counts"]["total"] == 2


@pytest.mark.parametrize(
    ("limits", "field"), [({"running": 3}, "requests"), ({"video_seconds_per_day": 3}, "duration")]
)
def test_a_batch_that_no_day_has_room_for_is_wrong_and_not_too_early(
    make_client: Callable[..., httpx2.Client], limits: dict[str, int], field: str
) -> None:
    client = make_client(f"small {field}", **limits)
    reply = client.post("/v1/batches", json={"requests": [asked(str(n)) for n in range(4)]})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (422, "invalid_request", field)
    assert "which never fits" in error["message"]
    assert "retry-after" not in reply.headers
    assert client.get("/v1/batches").json()["data"] == []
