"""Who is served without a key: this machine while there is none, and everybody where the service is told so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cinelet.api.access import Access
from cinelet.clock import FakeClock
from cinelet.jobs.errors import DatabaseUnavailableError
from cinelet.jobs.keys import REMEMBERED_SECONDS, ApiKey, Keys
from cinelet.testing import FakeBackend
from tests.api.served import Served

SHORT = {"prompt": "a gull", "duration": 2, "fps": 4}


def key_of(served: Served, name: str, **values: Any) -> tuple[ApiKey, str]:
    return served.with_database(lambda database: Keys(database).create(name, **values))


def test_on_this_machine_no_key_is_needed_until_there_is_one(copy_data: Callable[[Path], Path], tmp_path: Path) -> None:
    clock = FakeClock()
    with Served(copy_data(tmp_path / "data"), make_backend=FakeBackend, worker=False, clock=clock) as served:
        assert served.client.post("/v1/text-to-video", json=SHORT).status_code == 202
        # OpenAI's client always sends something.
        assert served.client.get("/v1/models", headers={"authorization": "Bearer none"}).status_code == 200
        _, secret = key_of(served, "site", owner="local")
        clock.advance(REMEMBERED_SECONDS)
        assert served.client.get("/v1/generations").status_code == 401
        known = served.client.get("/v1/generations", headers={"authorization": f"Bearer {secret}"})
        assert len(known.json()["data"]) == 1


def test_a_service_that_is_open_to_all_asks_for_no_key(copy_data: Callable[[Path], Path], tmp_path: Path) -> None:
    data = copy_data(tmp_path / "data")
    with Served(data, make_backend=FakeBackend, worker=False, open_to_all=True) as served:
        key, _ = key_of(served, "site")
        assert served.client.post("/v1/text-to-video", json=SHORT).status_code == 202
        assert key.owner == "site"


class KeysOf:
    """Keys that say what a test wants."""

    def __init__(self, *, exist: bool, fail: bool = False) -> None:
        self._exist, self._fail = exist, fail

    async def exist(self) -> bool:
        if self._fail:
            raise DatabaseUnavailableError("The database is away")
        return self._exist


def status_at(
    server: tuple[str, int | None] | None, keys: KeysOf, *, headers: dict[str, str] | None = None, **options: Any
) -> int:
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
    scope: dict[str, Any] = {"type": "http", "path": "/v1/text-to-video", "server": server, "app": app}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
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


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {"host": "localhost:8000", "origin": "http://localhost:8000"}, 200),
        ("127.0.0.1", {"host": "127.0.0.1:8000"}, 200),
        ("127.0.0.1", {"host": "127.0.0.1:8000", "origin": "https://shop.example"}, 403),
        ("127.0.0.1", {"host": "127.0.0.1:8000", "origin": "null"}, 403),
        ("127.0.0.1", {"host": "led-here.example:8000", "origin": "http://led-here.example:8000"}, 403),
        ("192.0.2.7", {"host": "videos.example", "origin": "https://videos.example"}, 200),
        ("192.0.2.7", {"host": "192.0.2.7:8000"}, 200),
        ("192.0.2.7", {"host": "192.0.2.7:8000", "origin": "http://192.0.2.7:8000"}, 200),
        ("192.0.2.7", {"host": "192.0.2.7:8000", "origin": "https://shop.example"}, 403),
        ("192.0.2.7", {"host": "192.0.2.7:8000", "origin": "null"}, 403),
        ("192.0.2.7", {"origin": "https://shop.example"}, 403),
    ],
)
def test_a_service_that_is_open_to_all_is_not_open_to_the_pages_of_other_sites(
    address: str, headers: dict[str, str], status: int
) -> None:
    assert status_at((address, 8000), KeysOf(exist=True), headers=headers, open_to_all=True) == status


def test_without_the_database_nobody_is_let_in() -> None:
    assert status_at(("127.0.0.1", 8000), KeysOf(exist=False, fail=True)) == 503
