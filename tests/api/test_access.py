"""Who may do what over HTTP, and how much of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cinelet.clock import FakeClock
from cinelet.jobs.keys import REMEMBERED_SECONDS, ApiKey, Keys
from cinelet.jobs.keys import Role as KeyRole
from cinelet.observability.logs import get_logger
from cinelet.testing import FakeBackend
from tests.api.served import Served, unnamed

OPEN, READ, GENERATE, ADMIN = None, KeyRole.READ, KeyRole.GENERATE, KeyRole.ADMIN
ROUTES = {
    ("GET", "/"): OPEN,
    ("GET", "/web/{path:path}"): OPEN,
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): ADMIN,
    ("GET", "/docs"): OPEN,
    ("GET", "/docs/oauth2-redirect"): OPEN,
    ("GET", "/openapi.json"): OPEN,
    ("POST", "/v1/text-to-video"): GENERATE,
    ("POST", "/v1/image-to-video"): GENERATE,
    ("POST", "/v1/estimate"): GENERATE,
    ("GET", "/v1/generations"): READ,
    ("GET", "/v1/generations/{generation_id}"): READ,
    ("GET", "/v1/generations/{generation_id}/events"): READ,
    ("GET", "/v1/generations/{generation_id}/video"): READ,
    ("GET", "/v1/generations/{generation_id}/thumbnail"): READ,
    ("GET", "/v1/generations/{generation_id}/spritesheet"): READ,
    ("GET", "/v1/generations/{generation_id}/image"): READ,
    ("GET", "/v1/generations/{generation_id}/preview"): READ,
    ("POST", "/v1/generations/{generation_id}/cancel"): GENERATE,
    ("DELETE", "/v1/generations/{generation_id}"): GENERATE,
    ("GET", "/v1/events"): READ,
    ("GET", "/v1/webhooks/deliveries"): READ,
    ("POST", "/v1/webhooks/deliveries/{delivery_id}/redeliver"): GENERATE,
    ("POST", "/v1/batches"): GENERATE,
    ("GET", "/v1/batches"): READ,
    ("GET", "/v1/batches/{batch_id}"): READ,
    ("GET", "/v1/batches/{batch_id}/results"): READ,
    ("POST", "/v1/batches/{batch_id}/cancel"): GENERATE,
    ("GET", "/v1/models"): READ,
    ("GET", "/v1/models/{model:path}"): READ,
    ("GET", "/v1/me"): READ,
    ("GET", "/v1/stats"): READ,
    ("GET", "/v1/stats/next"): READ,
    ("GET", "/v1/admin/queue"): ADMIN,
    ("GET", "/v1/admin/workers"): ADMIN,
    ("GET", "/v1/admin/keys"): ADMIN,
    ("GET", "/v1/admin/failures"): ADMIN,
    ("POST", "/v1/admin/models/orders"): ADMIN,
    ("GET", "/v1/admin/models/orders/{order_id}"): ADMIN,
    ("POST", "/v1/videos"): GENERATE,
    ("POST", "/v1/videos/sync"): GENERATE,
    ("GET", "/v1/videos"): READ,
    ("POST", "/v1/videos/edits"): READ,
    ("POST", "/v1/videos/extensions"): READ,
    ("POST", "/v1/videos/characters"): READ,
    ("GET", "/v1/videos/characters/{character_id}"): READ,
    ("GET", "/v1/videos/{video_id}"): READ,
    ("DELETE", "/v1/videos/{video_id}"): GENERATE,
    ("GET", "/v1/videos/{video_id}/content"): READ,
    ("POST", "/v1/videos/{video_id}/remix"): GENERATE,
}
OF_ONE_GENERATION = sorted(
    (method, path) for method, path in ROUTES if "{generation_id}" in path or "{video_id}" in path
)
NOWHERE = "gen_" + "a" * 26
SHORT = {"prompt": "a gull", "duration": 2, "fps": 4}

MakeKey = Callable[..., tuple[ApiKey, httpx2.Client]]


@pytest.fixture(scope="module")
def clock() -> FakeClock:
    return FakeClock(1000.0)


@pytest.fixture(scope="module")
def served(
    copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory, clock: FakeClock
) -> Iterator[Served]:
    """A service with a key and without workers: what is asked for stays queued."""
    data = copy_data(tmp_path_factory.mktemp("access") / "data")
    with Served(data, make_backend=FakeBackend, worker=False, clock=clock) as served:
        created(served, "first")
        yield served


@pytest.fixture
def make_key(served: Served) -> Iterator[MakeKey]:
    """Return what makes a key, and a client that sends it."""
    clients: list[httpx2.Client] = []

    def make(name: str, **values: Any) -> tuple[ApiKey, httpx2.Client]:
        key, secret = created(served, name, **values)
        headers = {"authorization": f"Bearer {secret}"}
        # Plain HTTP: reading every authority's certificate would take most of the time.
        clients.append(httpx2.Client(base_url=served.url, headers=headers, timeout=30, verify=False))
        return key, clients[-1]

    yield make
    for client in clients:
        client.close()


def created(served: Served, name: str, **values: Any) -> tuple[ApiKey, str]:
    return served.with_database(lambda database: Keys(database).create(name, **values))


def ask(client: httpx2.Client, **values: Any) -> httpx2.Response:
    return client.post("/v1/text-to-video", json={**SHORT, **values})


def all_routes(router: Any) -> Iterator[Any]:
    """Yield the routes of a router, also where newer versions of FastAPI keep those that it includes in one."""
    for route in router.routes:
        within = getattr(route, "original_router", None)
        yield from [route] if within is None else all_routes(within)


def at(path: str, generation_id: str) -> str:
    for name in ("generation_id", "video_id", "character_id", "delivery_id", "batch_id"):
        path = path.replace(f"{{{name}}}", generation_id)
    return path.replace("{model:path}", "embedded")


def test_each_route_is_decided_about(served: Served) -> None:
    found = {
        (method, route.path)
        for route in all_routes(served.app)
        for method in getattr(route, "methods", {"MOUNT"}) - {"HEAD"}
    }
    assert found == {*ROUTES, ("MOUNT", "/docs/files")}


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=map(" ".join, ROUTES))
def test_a_route_is_open_to_its_role_and_to_those_above(
    served: Served, make_key: MakeKey, method: str, path: str
) -> None:
    needed = ROUTES[method, path]
    where = at(path, NOWHERE)
    anybody = served.client.request(method, where)
    if needed is OPEN:
        assert anybody.status_code in {200, 404, 503}
        return
    assert (anybody.status_code, anybody.headers["www-authenticate"]) == (401, "Bearer")
    assert anybody.json()["error"]["code"] == "not_authenticated"
    for role in KeyRole:
        _, client = make_key("of a role", role=role)
        with client.stream(method, where) as reply:
            if path != "/v1/events" or not role.includes(needed):  # which goes on for ever
                reply.read()
        if role.includes(needed):
            assert reply.status_code not in {401, 403}
        else:
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "not_allowed")


@pytest.mark.parametrize("path", ["/v1/generations/{generation_id}/video", "/v1/videos/{video_id}/content"])
def test_the_headers_of_a_file_need_the_key_that_it_needs_itself(served: Served, make_key: MakeKey, path: str) -> None:
    assert served.client.head(at(path, NOWHERE)).status_code == 401
    assert make_key("of headers", role=KeyRole.READ)[1].head(at(path, NOWHERE)).status_code == 404


def test_the_description_names_the_scheme_where_a_key_is_needed(served: Served) -> None:
    description = served.client.get("/openapi.json").json()
    scheme = description["components"]["securitySchemes"]["key"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for (method, path), needed in ROUTES.items():
        operation = description["paths"].get(path.replace(":path", ""), {}).get(method.lower())
        if operation is not None:
            assert operation.get("security", []) == ([] if needed is OPEN else [{"key": []}]), path


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


@pytest.mark.parametrize("of_one", [False, True], ids=["everything", "one generation"])
def test_a_stream_tells_nothing_to_a_key_that_was_revoked(
    served: Served, make_key: MakeKey, clock: FakeClock, *, of_one: bool
) -> None:
    key, watching = make_key("left", owner="the company")
    _, other = make_key("stayed", owner="the company")
    name = ask(other).json()["id"]
    with watching.stream("GET", f"/v1/generations/{name}/events" if of_one else "/v1/events") as stream:
        lines = stream.iter_lines()
        while "data:" not in next(lines):  # it is connected
            pass
        served.with_database(lambda database: Keys(database).revoke(key.id))
        clock.advance(REMEMBERED_SECONDS)
        other.post(f"/v1/generations/{name}/cancel")
        assert next((line for line in lines if line.startswith("data:")), None) is None


@pytest.mark.parametrize(("method", "path"), OF_ONE_GENERATION, ids=map(" ".join, OF_ONE_GENERATION))
def test_what_is_somebody_elses_is_answered_like_what_does_not_exist(make_key: MakeKey, method: str, path: str) -> None:
    _, alice = make_key("alice")
    _, bob = make_key("bob")
    hers = ask(alice).json()["id"]
    body = {"prompt": "x"} if path.endswith("remix") else None
    replies = [bob.request(method, at(path, name), json=body) for name in (hers, NOWHERE)]
    for reply in replies:
        for name in ("x-request-id", "x-trace-id"):
            reply.headers.pop(name)
        reply.headers.pop("date")
    assert [reply.status_code for reply in replies] == [404, 404]
    assert unnamed(replies[0].json()) == unnamed(replies[1].json())
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
    error = unnamed(replies[3].json())["error"]
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


def test_seconds_of_video_a_day_come_back_where_there_is_no_video(make_key: MakeKey) -> None:
    _, client = make_key("daily", video_seconds_per_day=5)
    first = ask(client)
    assert first.headers["ratelimit"] == '"video-seconds";r=3;t=86400'
    assert [ask(client).status_code for _ in range(2)] == [202, 429]
    where = f"/v1/generations/{first.json()['id']}"
    client.post(f"{where}/cancel")
    assert client.delete(where).status_code == 204
    assert ask(client).status_code == 202
    refused = ask(client)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert 86_300 < int(refused.headers["retry-after"]) <= 86_400
    assert refused.headers["ratelimit"] == f'"video-seconds";r=0;t={refused.headers["retry-after"]}'
    assert refused.headers["ratelimit-policy"] == '"video-seconds";q=5;w=86400;qu="video-seconds"'
    assert ask(client, duration=1).status_code == 202, "what fits still fits"


def test_more_seconds_of_video_than_a_whole_day_grants_are_wrong_and_not_too_early(make_key: MakeKey) -> None:
    _, client = make_key("short of it", video_seconds_per_day=20)
    refused = ask(client, duration=25)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (422, "invalid_request", "duration")
    assert error["message"] == (
        "This key may ask for 20 seconds of video in 24 hours, and this asks for 25 seconds, which never fits; "
        "ask for less"
    )
    assert "retry-after" not in refused.headers
    assert ask(client, duration=20).status_code == 202


def test_without_a_limit_no_header_speaks_of_one(make_key: MakeKey) -> None:
    _, client = make_key("free")
    assert not {name for name in ask(client).headers if name.startswith("ratelimit")}
