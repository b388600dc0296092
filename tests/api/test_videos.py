"""A video over HTTP: asked for, waited for, followed, fetched in ranges, cancelled, deleted."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cinelet.media.probe import probe
from cinelet.testing import FakeBackend, example_image
from tests.api.served import SHORT, Served, made


def test_a_request_is_answered_at_once_with_the_job_and_where_it_is(client: httpx2.Client) -> None:
    reply = client.post("/v1/text-to-video", json={"prompt": "a gull", **SHORT})
    generation = reply.json()
    assert reply.status_code == 202
    assert reply.headers["location"] == f"/v1/generations/{generation['id']}"
    assert generation["request"]["prompt"] == "a gull"
    assert client.get(reply.headers["location"]).json()["id"] == generation["id"]


def test_a_request_that_waits_gets_the_finished_job(client: httpx2.Client) -> None:
    generation = made(client, seed=5)
    assert generation["progress"] == 1
    assert generation["result"]["frames"] == 4
    assert "blob" not in generation["result"]


@pytest.mark.parametrize("preference", ["Wait=30", 'wait="30"', "wait = 30", "respond-async, wait=99999999"])
def test_a_time_to_wait_is_read_however_it_may_be_written(client: httpx2.Client, preference: str) -> None:
    reply = client.post("/v1/text-to-video", json={"prompt": "a heron", **SHORT}, headers={"prefer": preference})
    assert reply.headers["preference-applied"] in {"wait=30", "wait=600"}


def test_a_request_that_accepts_a_video_gets_it_with_its_facts(client: httpx2.Client, tmp_path: Path) -> None:
    reply = client.post("/v1/text-to-video", json={"prompt": "a gull", **SHORT}, headers={"accept": "video/mp4"})
    (tmp_path / "video.mp4").write_bytes(reply.content)
    facts = probe(tmp_path / "video.mp4")
    assert reply.headers["content-type"] == "video/mp4"
    assert reply.headers["etag"] == f'"{facts.sha256}"'
    assert reply.headers["x-cinelet-resolution"] == facts.resolution


def test_a_wait_that_is_too_short_gets_the_job(client: httpx2.Client, backend: FakeBackend) -> None:
    backend.step_seconds = 1
    try:
        headers = {"accept": "video/mp4", "prefer": "wait=0"}
        reply = client.post("/v1/text-to-video", json={"prompt": "a slow gull", **SHORT}, headers=headers)
        assert (reply.status_code, reply.json()["state"] in {"queued", "in_progress"}) == (202, True)
        client.post(f"/v1/generations/{reply.json()['id']}/cancel")
    finally:
        backend.step_seconds = 0


@pytest.mark.parametrize("way", ["form", "data URI"])
def test_an_image_reaches_the_model_as_it_was_sent(client: httpx2.Client, backend: FakeBackend, way: str) -> None:
    image = example_image(width=48)
    headers = {"prefer": "wait=30"}
    if way == "form":
        files = {"image": ("x.bin", image, "application/octet-stream")}
        reply = client.post("/v1/image-to-video", data={"prompt": way, "duration": "1"}, files=files, headers=headers)
    else:
        uri = f"data:image/png;base64,{base64.b64encode(image).decode()}"
        reply = client.post("/v1/image-to-video", json={"prompt": way, "image": uri, **SHORT}, headers=headers)
    assert reply.json()["state"] == "completed", reply.text
    assert [request.image for request in backend.requests if request.prompt == way] == [image]
    assert reply.json()["request"]["image"] == hashlib.sha256(image).hexdigest()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 1001}, "prompt"),
        ({"prompt": "x", "duration": 31}, "duration"),
        ({"prompt": "x", "fps": 0}, "fps"),
        ({"prompt": "x", "num_inference_steps": 101}, "num_inference_steps"),
        ({"prompt": "x", "speed": 3}, "speed"),
        ({"prompt": "x", "width": 64}, "size"),
        ({"prompt": "x", "model": "a b"}, "model"),
    ],
)
def test_a_wrong_field_is_named(client: httpx2.Client, body: dict[str, Any], param: str) -> None:
    reply = client.post("/v1/text-to-video", json=body)
    assert reply.status_code == 422
    error = reply.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert "x" * 100 not in reply.text


@pytest.mark.parametrize(
    "image",
    [
        "http://example.org/a.png",
        "https://127.0.0.1/a.png",
        "https://169.254.169.254/",
        "file:///etc/passwd",
        "data:,x",
    ],
)
def test_an_image_is_fetched_from_nowhere_private(client: httpx2.Client, image: str) -> None:
    reply = client.post("/v1/image-to-video", json={"image": image})
    assert reply.status_code == 422
    assert "image" in reply.text or "address" in reply.text


@pytest.mark.parametrize("length", [None, 1000])
def test_a_body_beyond_the_limit_is_refused_while_it_arrives(served: Served, length: int | None) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
    framing = "Transfer-Encoding: chunked" if length is None else "Content-Length: 900000000"
    kind = "Content-Type: multipart/form-data; boundary=b"
    head = f"POST /v1/image-to-video HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n{framing}\r\n\r\n"
    sent, piece = 0, part + bytes(100_000)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(head.encode())
        with contextlib.suppress(ConnectionError):
            while sent < 400_000_000:
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if length is None else piece)
                sent += len(piece)
                piece = bytes(100_000)
        reply = b""
        with contextlib.suppress(ConnectionError):
            reply = connection.recv(1000)
    assert sent < 40_000_000, "what the wire and its buffers hold, beyond the limit of 28 MB"
    assert reply == b"" or reply.startswith(b"HTTP/1.1 413"), reply


def test_an_idempotency_key_makes_one_generation(client: httpx2.Client) -> None:
    headers = {"idempotency-key": "order-1"}
    first, second = (
        client.post("/v1/text-to-video", json={"prompt": "a gull", **SHORT}, headers=headers) for _ in range(2)
    )
    assert first.json()["id"] == second.json()["id"]
    other = client.post("/v1/text-to-video", json={"prompt": "another", **SHORT}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_conflict")


def test_events_are_told_from_any_position_to_the_end(client: httpx2.Client) -> None:
    generation = made(client)
    where = f"/v1/generations/{generation['id']}/events"
    told = _events(client.get(where).text)
    assert [name for _, name, _ in told][-1] == "completed"
    assert told[-1][2]["generation"]["id"] == generation["id"]
    rest = _events(client.get(where, headers={"last-event-id": str(told[1][0])}).text)
    assert rest == told[2:]


def _events(text: str) -> list[tuple[int, str, dict[str, Any]]]:
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def test_lists_are_filtered_and_come_in_pages(client: httpx2.Client) -> None:
    ids = [made(client, f"page {n}")["id"] for n in range(3)]
    found: list[str] = []
    after: str | None = None
    while True:
        query = {"limit": "2", "state": "completed", **({"after": after} if after else {})}
        page = client.get("/v1/generations", params=query).json()
        found += [generation["id"] for generation in page["data"]]
        after = page["next"]
        if after is None:
            break
    assert found[:3] == ids[::-1]
    assert len(found) == len(set(found))
    assert client.get("/v1/generations", params={"after": "%%%"}).json()["error"]["code"] == "page_not_found"


def test_a_path_or_a_method_that_there_is_not_says_what_there_is(client: httpx2.Client) -> None:
    nowhere, wrong = client.get("/v1/nowhere"), client.put("/v1/generations/gen_x")
    assert (nowhere.status_code, wrong.status_code) == (404, 405)
    assert "/openapi.json" in nowhere.json()["error"]["message"]
    assert wrong.headers["allow"] == "DELETE, GET"
    assert "DELETE, GET" in wrong.json()["error"]["message"]


@pytest.mark.parametrize("name", ["gen_x", "..%2f..%2fetc", "%00", "x" * 4000, "é"])
def test_what_does_not_exist_is_not_found(client: httpx2.Client, name: str) -> None:
    for way in ("", "/video", "/events"):
        reply = client.get(f"/v1/generations/{name}{way}")
        assert reply.status_code in {404, 422}
        assert reply.json()["error"]["message"]


def test_what_runs_is_cancelled_and_what_has_ended_is_deleted_with_its_video(
    client: httpx2.Client, backend: FakeBackend, served: Served
) -> None:
    backend.step_seconds = 0.5
    try:
        running = client.post("/v1/text-to-video", json={"prompt": "slow", **SHORT, "num_inference_steps": 100}).json()
        assert client.post(f"/v1/generations/{running['id']}/cancel").status_code == 200
        end = time.monotonic() + 20
        while (state := client.get(f"/v1/generations/{running['id']}").json()["state"]) != "cancelled":
            assert time.monotonic() < end, state
            time.sleep(0.05)
    finally:
        backend.step_seconds = 0
    one, two = (made(client, "the same", seed=77, cache="off") for _ in range(2))
    sha256 = one["result"]["sha256"]
    assert two["result"]["sha256"] == sha256
    stored = list((served.config.cinelet_data_dir / "storage" / "blobs").rglob(f"{sha256}*"))
    assert len(stored) == 1
    assert client.delete(f"/v1/generations/{one['id']}").status_code == 204
    assert stored[0].exists(), "the other generation has the same video"
    assert client.delete(f"/v1/generations/{two['id']}").status_code == 204
    assert not stored[0].exists()
    assert client.get(f"/v1/generations/{one['id']}").status_code == 404


def test_the_service_says_whether_it_is_alive_and_ready(client: httpx2.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"workers": 3, "database": "ok", "storage": "ok"})


def test_models_are_listed_and_described(client: httpx2.Client) -> None:
    listed = client.get("/v1/models").json()["data"]
    assert "embedded" in [model["id"] for model in listed]
    assert client.get("/v1/models/hf:org/name").json()["id"] == "hf:org/name"
    assert client.get("/v1/nothing").json()["error"]["code"] == "not_found"


def test_each_reply_has_a_request_id(client: httpx2.Client) -> None:
    ids = {client.get("/healthz").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize(
    "header",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"host": "["},
        {"origin": "http://[::1"},
    ],
)
def test_without_keys_no_web_site_gets_in_through_its_visitors_browser(
    client: httpx2.Client, header: dict[str, str]
) -> None:
    reply = client.post("/v1/text-to-video", json={"prompt": "x"}, headers=header)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "not_allowed")
    assert client.get("/v1/generations", headers={"origin": "http://localhost:3000"}).status_code == 200


@pytest.mark.parametrize("part", ["video", "thumbnail", "spritesheet", "image", "preview?number=1"])
def test_every_file_is_asked_for_in_one_way(client: httpx2.Client, part: str) -> None:
    """A page asks for each of them from the service itself."""
    generation = made(client)
    path = f"/v1/generations/{generation['id']}/{part}"
    reply = client.get(f"{path}{'&' if '?' in part else '?'}redirect=false")
    # It began with no image, and is made no more.
    assert reply.status_code == (404 if part.startswith(("image", "preview")) else 200), reply.text
