"""`/v1/me`: who asks, and what he may do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cinelet.clock import FakeClock
from cinelet.jobs.keys import REMEMBERED_SECONDS, Keys, Role
from cinelet.testing import FakeBackend
from tests.api.served import SHORT, Served

UNLIMITED = dict.fromkeys(
    ("requests_per_minute", "running", "video_seconds_per_day", "budget_per_day", "currency"), None
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def served(copy_data: Callable[[Path], Path], tmp_path: Path, clock: FakeClock) -> Iterator[Served]:
    with Served(copy_data(tmp_path / "data"), make_backend=FakeBackend, worker=False, clock=clock) as served:
        yield served


def created(served: Served, name: str, **values: Any) -> dict[str, str]:
    _, secret = served.with_database(lambda database: Keys(database).create(name, **values))
    return {"authorization": f"Bearer {secret}"}


def test_on_this_machine_whoever_asks_is_an_administrator_until_there_is_a_key(
    served: Served, clock: FakeClock
) -> None:
    me = {"object": "caller", "owner": "local", "role": "admin", "needs_key": False, "limits": UNLIMITED}
    assert served.client.get("/v1/me").json() == me
    assert served.client.get("/v1/admin/queue").status_code == 200
    key = created(served, "site")
    clock.advance(REMEMBERED_SECONDS)
    assert served.client.get("/v1/me").status_code == 401
    assert served.client.get("/v1/admin/queue").status_code == 401
    assert served.client.get("/v1/admin/queue", headers=key).status_code == 403


def test_no_web_site_is_an_administrator_through_its_visitors_browser(served: Served) -> None:
    for header in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
        for path in ("/v1/me", "/v1/admin/workers", "/v1/admin/keys"):
            assert served.client.get(path, headers=header).status_code == 403


@pytest.mark.parametrize("role", Role)
def test_a_key_is_told_its_owner_its_role_and_its_limits(served: Served, role: Role) -> None:
    limits = {
        "requests_per_minute": 60,
        "running": 4,
        "video_seconds_per_day": 3600,
        "budget_per_day": 2.5,
        "currency": "EUR",
    }
    key = created(served, "site", owner="shop", role=role, **limits)
    me = {"object": "caller", "owner": "shop", "role": role, "needs_key": True, "limits": limits}
    assert served.client.get("/v1/me", headers=key).json() == me


def test_who_serves_everybody_serves_no_administrator(copy_data: Callable[[Path], Path], tmp_path: Path) -> None:
    data = copy_data(tmp_path / "open")
    with Served(data, make_backend=FakeBackend, worker=False, open_to_all=True) as served:
        me = {"object": "caller", "owner": "local", "role": "generate", "needs_key": False, "limits": UNLIMITED}
        assert served.client.get("/v1/me").json() == me
        assert served.client.get("/v1/me", headers=created(served, "root", role=Role.ADMIN)).json() == me
        assert served.client.get("/v1/admin/workers").status_code == 403
        assert served.client.post("/v1/text-to-video", json={"prompt": "x", **SHORT}).status_code == 202
