"""The page that documents the service, with nothing from elsewhere."""

from __future__ import annotations

import re

import httpx2
import pytest


def test_the_page_loads_nothing_from_elsewhere(client: httpx2.Client) -> None:
    page = client.get("/docs").text

    needed = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page)
    assert len(needed) >= 3
    assert all(address.startswith("/docs/") for address in needed)
    assert not re.findall(r"https?://(?!localhost)", page)
    for address in needed:
        assert client.get(address).status_code == 200


@pytest.mark.parametrize(
    ("path", "host", "leads_to"),
    [
        ("/docs/", "evil.example", "/docs"),
        ("/docs/?x=1", "evil.example:8000", "/docs?x=1"),
        ("/v1/generations/?limit=1", "localhost", "/v1/generations?limit=1"),
    ],
)
def test_a_slash_too_many_leads_to_no_host_that_the_request_has_named(
    client: httpx2.Client, path: str, host: str, leads_to: str
) -> None:
    reply = client.get(path, headers={"host": host})
    assert (reply.status_code, reply.headers["location"]) == (307, leads_to)


def test_each_body_and_each_parameter_is_described(client: httpx2.Client) -> None:
    described = client.get("/openapi.json").json()

    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), (method, path)
    fields = described["components"]["schemas"]["TextToVideo"]["properties"]
    assert all(field.get("description") for field in fields.values())


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/files/swagger-ui.css", "/healthz"])
def test_what_is_only_read_says_so_to_whoever_writes(client: httpx2.Client, path: str) -> None:
    reply = client.post(path)
    assert (reply.status_code, reply.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "GET" in reply.headers["allow"]
