"""Who may do what over HTTP, and how much of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from cinelet.api.access import Access
from cinelet.clock import FakeClock
from cinelet.jobs.errors import DatabaseUnavailableError
from cinelet.jobs.keys import REMEMBERED_SECONDS, ApiKey, Keys
from cinelet.jobs.keys import Role as KeyRole
from cinelet.observability.logs import get_logger
from cinelet.testing import FakeBackend
from tests.api.served import Served

OPEN, READ, GENERATE = None, KeyRole.READ, KeyRole.GENERATE
ROUTES = {
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/docs"): OPEN,
    ("GET", "/docs/oauth2-redirect"): OPEN,
    ("GET", "/openapi.json"): OPEN,
    ("POST", "/v1/text-to-video"): GENERATE,
    ("POST", "/v1/image-to-video"): GENERATE,
    ("GET", "/v1/generations"): READ,
    ("GET", "/v1/generations/{generation_id}"): READ,
    ("GET", "/v1/generations/{generation_id}/events"): READ,
    ("GET", "/v1/generations/{generation_id}/video"): READ,
    ("POST", "/v1/generations/{generation_id}/cancel"): GENERATE,
    ("DELETE", "/v1/generations/{generation_id}"): GENERATE,
    ("GET", "/v1/models"): READ,
    ("GET", "/v1/models/{model:path}"): READ,
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
    for name in ("generation_id", "video_id", "character_id"):
        path = path.replace(f"{{{name}}}", generation_id)
    return path.replace("{model:path}", "embedded")


def test_each_route_is_decided_about(served: Served) -> None:
    found = {
        (method, route.path)
        for route in all_routes(served.app)
        for method in getattr(route, "methods", {"WEBSOCKET"}) - {"HEAD"}
    }
    assert found == ROUTES.keys()


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=map(" ".join, ROUTES))
def test_a_route_is_open_to_its_role_and_to_those_above(
    served: Served, make_key: MakeKey, method: str, path: str
) -> None:
    needed = ROUTES[method, path]
    where = at(path, NOWHERE)
    anybody = served.client.request(method, where)
    if needed is OPEN:
        assert anybody.status_code in {200, 503}
        return
    assert (anybody.status_code, anybody.headers["www-authenticate"]) == (401, "Bearer")
    assert anybody.json()["error"]["code"] == "not_authenticated"
    for role in KeyRole:
        _, client = make_key("of a role", role=role)
        reply = client.request(method, where)
        if role.includes(needed):
            assert reply.status_code not in {401, 403}, reply.text
        else:
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "not_allowed")


def test_the_description_names_the_scheme_where_a_key_is_needed(served: Served) -> None:
    description = served.client.get("/openapi.json").json()
    scheme = description["components"]["securitySchemes"]["key"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for (method, path), needed in ROUTES.items():
        operation = description["paths"].get(path.replace(":path", ""), {}).get(method.lower())
        if operation is not None:
            assert operation.get("security", []) == ([] if needed is OPEN else [{"key": []}]), path
