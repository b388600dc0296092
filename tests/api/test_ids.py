"""Whatever is given for an id: it is not found, and the answer says nothing."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cinelet.testing import FakeBackend
from tests.api.served import Served, unnamed

NOTHING = {"generations": "gen_" + "a" * 26, "videos": "gen_" + "a" * 26, "batches": "batch_" + "a" * 26}
ROUTES = [
    ("GET", "/v1/generations/{}"),
    ("GET", "/v1/generations/{}/events"),
    ("GET", "/v1/generations/{}/video"),
    ("POST", "/v1/generations/{}/cancel"),
    ("DELETE", "/v1/generations/{}"),
    ("GET", "/v1/videos/{}"),
    ("GET", "/v1/videos/{}/content"),
    ("DELETE", "/v1/videos/{}"),
    ("GET", "/v1/batches/{}"),
    ("GET", "/v1/batches/{}/results"),
    ("POST", "/v1/batches/{}/cancel"),
]
ONE_NAME = [
    "%00", "gen_" + "a" * 25 + "%00", "GEN_" + "A" * 26, "%C3%A9", "%E2%80%AE", "%FF", "%F0%9F%8E%AC", "a" * 4096,
    "..%00", "%0d%0aset-cookie:x", "'%20OR%201=1--", "%25s", "{}", "gen_" + "a" * 26 + "%0a", "null", "-1", "$(id)",
]  # fmt: skip
PATHS = [
    "../../etc/passwd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%2f..%2fv1%2fmodels",
    "%2e%2e",
    "..",
    "..%5c..%5cx",
    "//x",
]


@pytest.fixture(scope="module")
def served(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = copy_data(tmp_path_factory.mktemp("ids") / "data")
    with Served(data, make_backend=FakeBackend, worker=False) as served:
        yield served


def asked(served: Served, method: str, path: str) -> tuple[int, str, dict[str, str]]:
    """Return status, body and headers of a request whose path is sent as it is written."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        headers = {
            name: value for name, value in reply.getheaders() if name not in {"x-request-id", "x-trace-id", "date"}
        }
        return reply.status, _unnamed(reply.read().decode()), headers
    finally:
        connection.close()


def _unnamed(body: str) -> str:
    """Return a body without the names of its request, which differ."""
    try:
        return json.dumps(unnamed(json.loads(body)))
    except (ValueError, KeyError):
        return body


@pytest.mark.parametrize(("method", "route"), ROUTES, ids=map(" ".join, ROUTES))
def test_what_is_no_id_is_answered_like_one_that_does_not_exist(served: Served, method: str, route: str) -> None:
    nothing = asked(served, method, route.format(NOTHING[route.split("/")[2]]))
    assert nothing[0] == 404
    assert json.loads(nothing[1])["error"]["code"] in {"generation_not_found", "batch_not_found"}
    for name in ONE_NAME:
        assert asked(served, method, route.replace("{}", name)) == nothing, name


@pytest.mark.parametrize(("method", "route"), ROUTES, ids=map(" ".join, ROUTES))
def test_what_leads_elsewhere_leads_nowhere(served: Served, method: str, route: str) -> None:
    for name in [*PATHS, "a" * 6000]:
        status, body, _ = asked(served, method, route.replace("{}", name))
        # A shorter path may be that of a list, which takes no other method.
        assert status in {404, 405, 422}, (name, status, body)
        assert json.loads(body)["error"]["type"] == "invalid_request_error"
        assert "passwd" not in body


def test_an_id_has_130_random_bits(served: Served) -> None:
    ids = {
        served.client.post("/v1/text-to-video", json={"prompt": "a gull", "duration": 1}).json()["id"]
        for _ in range(20)
    }
    assert len(ids) == 20
    for place in range(4, 30):
        assert len({name[place] for name in ids}) > 4, "each place of an id is drawn"
