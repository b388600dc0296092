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
from tests.api.served import Served

SHORT = {"duration": 1, "fps": 4}


def made(client: httpx2.Client, prompt: str = "a gull", **values: Any) -> dict[str, Any]:
    """Return a completed generation."""
    reply = client.post("/v1/text-to-video", json={"prompt": prompt, **SHORT, **values}, headers={"prefer": "wait=30"})
    assert reply.status_code == 200, reply.text
    generation: dict[str, Any] = reply.json()
    assert generation["state"] == "completed", generation
    return generation


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
    head = f"POST /v1/image-to-video HTTP/1.1\r\nHost: x\r\n{kind}\r\n{framing}\r\n\r\n"
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


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ({}, 200, slice(None)),
        ({"range": "bytes=0-9"}, 206, slice(0, 10)),
        ({"range": "bytes=5-"}, 206, slice(5, None)),
        ({"range": "bytes=-7"}, 206, slice(-7, None)),
        ({"range": "bytes=0-9", "if-range": '"other"'}, 200, slice(None)),
        ({"range": "bytes=999999999-"}, 416, None),
    ],
)
def test_a_video_is_fetched_in_ranges(
    client: httpx2.Client, asked: dict[str, str], status: int, part: slice | None
) -> None:
    where = f"/v1/generations/{made(client, seed=1)['id']}/video"
    whole = client.get(where)
    reply = client.get(where, headers=asked)
    assert reply.status_code == status
    if part is not None:
        assert reply.content == whole.content[part]
    assert client.get(where, headers={"if-none-match": whole.headers["etag"]}).status_code == 304


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
    assert client.get("/v1/generations", params={"after": "%%%"}).status_code == 422


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
    assert (ready.status_code, ready.json()["checks"]) == (200, {"workers": 2, "database": "ok", "storage": "ok"})


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
        b"",
        b"Bearer",
        b"Bearer cin_",
        b"Bearer cin_" + b"a" * 43,
        b"Bearer cin_" + b"a" * 4096,
        b"Bearer cin_" + b"\xe9" * 43,
        "Bearer cin_\u0660".encode(),
        b"Bearer hf_abcdefghijklmnopqrstuvwxyz",
        b"Basic Y2luOng=",
    ],
)
def test_what_is_no_key_opens_nothing(served: Served, header: bytes) -> None:
    reply = served.client.get("/v1/models", headers={b"authorization": header})
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "not_authenticated")
    assert header.partition(b" ")[2].decode("latin-1") in {"", "cin_"} or header.decode("latin-1")[7:] not in reply.text


def test_a_valid_secret_opens_nothing_in_another_scheme_or_place(served: Served) -> None:
    _, secret = created(served, "site")
    get = served.client.get
    assert get("/v1/models", headers={"authorization": f"bearer  {secret}"}).status_code == 200
    assert get("/v1/models", headers={"authorization": f"Basic {secret}"}).status_code == 401
    assert get("/v1/models", headers={"authorization": secret}).status_code == 401
    assert get("/v1/models", headers={"x-api-key": secret}).status_code == 401
    assert get("/v1/models", params={"key": secret}).status_code == 401


def test_what_is_revoked_opens_nothing_after_five_seconds(served: Served, make_key: MakeKey, clock: FakeClock) -> None:
    key, client = make_key("site")
    assert client.get("/v1/models").status_code == 200
    served.with_database(lambda database: Keys(database).revoke(key.id))
    clock.advance(REMEMBERED_SECONDS)
    assert client.get("/v1/models").status_code == 401


@pytest.mark.parametrize(("method", "path"), OF_ONE_GENERATION, ids=map(" ".join, OF_ONE_GENERATION))
def test_what_is_somebody_elses_is_answered_like_what_does_not_exist(make_key: MakeKey, method: str, path: str) -> None:
    _, alice = make_key("alice")
    _, bob = make_key("bob")
    hers = ask(alice).json()["id"]
    body = {"prompt": "x"} if path.endswith("remix") else None
    replies = [bob.request(method, at(path, name), json=body) for name in (hers, NOWHERE)]
    for reply in replies:
        reply.headers.pop("x-request-id")
        reply.headers.pop("date")
    assert [reply.status_code for reply in replies] == [404, 404]
    assert replies[0].json() == replies[1].json()
    assert replies[0].headers == replies[1].headers
    assert alice.get(f"/v1/generations/{hers}").json()["state"] == "queued"


def test_a_list_shows_ones_own_and_an_administrator_everybodys(make_key: MakeKey) -> None:
    _, alice = make_key("alice", owner="alice of the list")
    _, bob = make_key("bob", owner="bob of the list")
    _, root = make_key("root", role=KeyRole.ADMIN)
    hers = ask(alice).json()["id"]
    for where in ("/v1/generations", "/v1/videos"):
        assert [one["id"] for one in alice.get(where).json()["data"]] == [hers]
        assert bob.get(where).json()["data"] == []
        assert hers in {one["id"] for one in root.get(where, params={"limit": 100}).json()["data"]}
    assert bob.get("/v1/videos", params={"after": hers}).status_code == 404
    assert root.post(f"/v1/generations/{hers}/cancel").json()["state"] == "cancelled"
    assert root.delete(f"/v1/generations/{hers}").status_code == 204
    assert alice.get("/v1/generations").json()["data"] == []


def test_two_keys_of_one_owner_see_the_same_and_idempotency_keys_are_each_owners(make_key: MakeKey) -> None:
    (_, one), (_, two), (_, other) = (make_key(name, owner=owner) for name, owner in ("1a", "2a", "3b"))
    ids = [
        client.post("/v1/text-to-video", json=SHORT, headers={"idempotency-key": "order"}).json()["id"]
        for client in (one, two, other)
    ]
    assert ids[0] == ids[1] != ids[2]


def test_no_secret_is_logged(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    _, secret = created(served, "site")
    with caplog.at_level(logging.DEBUG):
        headers = {"authorization": f"Bearer {secret}"}
        served.client.get("/v1/models", headers=headers)
        served.client.post("/v1/text-to-video", content=b"{", headers=headers)
        served.client.get("/v1/models", headers={"authorization": f"Bearer {secret[:-1]}"})
        get_logger("cinelet.api").warning("A request came with %s", secret)
    assert secret[:20] not in caplog.text


def test_requests_a_minute_come_back_one_by_one(make_key: MakeKey, clock: FakeClock) -> None:
    _, client = make_key("site", requests_per_minute=3)
    replies = [client.get("/v1/models") for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert [reply.headers["ratelimit"] for reply in replies] == [
        '"requests";r=2;t=20',
        '"requests";r=1;t=40',
        '"requests";r=0;t=60',
        '"requests";r=0;t=20',
    ]
    assert {reply.headers["ratelimit-policy"] for reply in replies} == {'"requests";q=3;w=60'}
    assert replies[3].headers["retry-after"] == "20"
    error = replies[3].json()["error"]
    assert (error["code"], error["details"]) == ("rate_limited", {"retryable": True, "retry_after": 20})
    clock.advance(20)
    assert [client.get("/v1/models").status_code for _ in range(2)] == [200, 429]


def test_generations_at_once_are_counted_exactly(make_key: MakeKey) -> None:
    key, client = make_key("busy", running=3)
    with ThreadPoolExecutor(12) as threads:
        replies = list(threads.map(lambda n: ask(client, prompt=f"gull {n}"), range(12)))
    taken = [reply for reply in replies if reply.status_code == 202]
    refused = [reply for reply in replies if reply.status_code == 429]
    assert (len(taken), len(refused)) == (3, 9)
    for reply in refused:
        assert reply.json()["error"]["code"] == "rate_limited"
        assert reply.headers["retry-after"] == "5"
        assert reply.headers["ratelimit"] == '"running";r=0;t=5'
        assert reply.headers["ratelimit-policy"] == '"running";q=3;qu="concurrent-requests"'
    assert len(client.get("/v1/generations").json()["data"]) == 3
    assert client.post("/v1/videos", json={"prompt": "a gull", "seconds": "2"}).status_code == 429
    client.post(f"/v1/generations/{taken[0].json()['id']}/cancel")
    assert ask(client).status_code == 202
    assert key.running == 3


def test_what_is_only_repeated_is_no_more_than_before(make_key: MakeKey) -> None:
    _, client = make_key("repeats", running=1)
    headers = {"idempotency-key": "order"}
    ids = {client.post("/v1/text-to-video", json=SHORT, headers=headers).json()["id"] for _ in range(3)}
    assert len(ids) == 1


def test_seconds_of_video_a_day_are_not_given_back_by_deleting(make_key: MakeKey) -> None:
    _, client = make_key("daily", video_seconds_per_day=5)
    first = ask(client)
    assert first.headers["ratelimit"] == '"video-seconds";r=3;t=86400'
    assert [ask(client).status_code for _ in range(2)] == [202, 429]
    where = f"/v1/generations/{first.json()['id']}"
    client.post(f"{where}/cancel")
    assert client.delete(where).status_code == 204
    refused = ask(client)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert 86_300 < int(refused.headers["retry-after"]) <= 86_400
    assert refused.headers["ratelimit"] == f'"video-seconds";r=0;t={refused.headers["retry-after"]}'
    assert refused.headers["ratelimit-policy"] == '"video-seconds";q=5;w=86400;qu="video-seconds"'
    assert ask(client, duration=1).status_code == 202, "what fits still fits"


def test_without_a_limit_no_header_speaks_of_one(make_key: MakeKey) -> None:
    _, client = make_key("free")
    assert not {name for name in ask(client).headers if name.startswith("ratelimit")}


def test_on_this_machine_no_key_is_needed_until_there_is_one(copy_data: Callable[[Path], Path], tmp_path: Path) -> None:
    clock = FakeClock()
    with Served(copy_data(tmp_path / "data"), make_backend=FakeBackend, worker=False, clock=clock) as served:
        assert ask(served.client).status_code == 202
        # OpenAI's client always sends something.
        assert served.client.get("/v1/models", headers={"authorization": "Bearer none"}).status_code == 200
        _, secret = created(served, "site", owner="local")
        clock.advance(REMEMBERED_SECONDS)
        assert served.client.get("/v1/generations").status_code == 401
        known = served.client.get("/v1/generations", headers={"authorization": f"Bearer {secret}"})
        assert len(known.json()["data"]) == 1


def test_a_service_that_is_open_to_all_asks_for_no_key(copy_data: Callable[[Path], Path], tmp_path: Path) -> None:
    data = copy_data(tmp_path / "data")
    with Served(data, make_backend=FakeBackend, worker=False, open_to_all=True) as served:
        key, _ = created(served, "site")
        assert ask(served.client).status_code == 202
        assert key.owner == "site"


class KeysOf:
    """Keys that say what a test wants."""

    def __init__(self, *, exist: bool, fail: bool = False) -> None:
        self._exist, self._fail = exist, fail

    async def exist(self) -> bool:
        if self._fail:
            raise DatabaseUnavailableError("The database is away")
        return self._exist


def status_at(server: tuple[str, int | None] | None, keys: KeysOf, **options: Any) -> int:
    """Return what a request that has reached an address is answered."""
    statuses: list[int] = []

    async def inside(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        raise AssertionError("a body is read before it is known whose it is")

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    app = SimpleNamespace(state=SimpleNamespace(keys=keys))
    scope: dict[str, Any] = {"type": "http", "path": "/v1/text-to-video", "headers": [], "server": server, "app": app}
    access = Access(inside, **{"open_to_all": False, **options})
    asyncio.run(access(scope, receive, send))
    return statuses[0]


@pytest.mark.parametrize(
    ("server", "status"),
    [
        (("127.0.0.1", 8000), 200),
        (("127.8.8.8", 8000), 200),
        (("::1", 8000), 200),
        (("192.0.2.7", 8000), 401),
        (("0.0.0.0", 8000), 401),
        (("/run/cinelet.sock", None), 401),
        (("localhost.example.org", 80), 401),
        (None, 401),
    ],
)
def test_only_what_reached_a_loopback_address_needs_no_key(server: tuple[str, int | None] | None, status: int) -> None:
    assert status_at(server, KeysOf(exist=False)) == status
    assert status_at(server, KeysOf(exist=True)) == 401
    assert status_at(server, KeysOf(exist=True), open_to_all=True) == 200


def test_without_the_database_nobody_is_let_in() -> None:
    assert status_at(("127.0.0.1", 8000), KeysOf(exist=False, fail=True)) == 503


@pytest.mark.parametrize(
    "header",
    [
        {"host": "evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"host": "127.0.0.1.evil.example"},
    ],
)
def test_without_keys_no_web_site_gets_in_through_its_visitors_browser(
    client: httpx2.Client, header: dict[str, str]
) -> None:
    reply = client.post("/v1/text-to-video", json={"prompt": "x"}, headers=header)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "not_allowed")
    assert client.get("/v1/generations", headers={"origin": "http://localhost:3000"}).status_code == 200
