"""A parameter that a path does not take is refused by name, and not ignored."""

from __future__ import annotations

import httpx2
import pytest


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/generations?foo=1", "foo"),
        ("/v1/generations?State=queued", "State"),
        ("/v1/generations?limit=2&foo", "foo"),
        ("/v1/videos?page=2", "page"),
        ("/v1/models?limit=2", "limit"),
        ("/v1/models/embedded?limit=2", "limit"),
        ("/v1/me?x=1", "x"),
        ("/v1/generations/gen_nothing/video?range=1", "range"),
        ("/healthz?x=1", "x"),
        ("/v1/generations?state=queued&state=failed", "state"),
        ("/v1/generations?%0A%E2%80%8B=1", "??"),
    ],
)
def test_a_parameter_that_a_path_does_not_take_or_takes_once_is_refused_by_name(
    client: httpx2.Client, path: str, parameter: str
) -> None:
    reply = client.get(path)
    assert reply.status_code == 422, reply.text
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", parameter)
    assert "\n" not in error["message"]


def test_the_refusal_says_what_the_path_takes(client: httpx2.Client) -> None:
    assert "order" in client.get("/v1/videos?page=2").json()["error"]["message"]
    assert "none" in client.get("/v1/me?x=1").json()["error"]["message"]


def test_what_is_asked_for_by_post_or_delete_has_no_unknown_parameter_either(client: httpx2.Client) -> None:
    assert client.post("/v1/text-to-video?seed=7", json={"prompt": "a gull"}).json()["error"]["param"] == "seed"
    assert client.delete("/v1/generations/gen_nothing?force=1").json()["error"]["param"] == "force"


@pytest.mark.parametrize("path", ["/?lang=de", "/web/app.js?1", "/docs?1", "/docs/files/swagger-ui.css?1"])
def test_pages_take_whatever_comes(client: httpx2.Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_known_parameters_are_taken_together(client: httpx2.Client) -> None:
    path = "/v1/generations?state=queued&model=embedded&text=a%20gull&created_from=0&created_before=4e9&limit=1"
    assert client.get(path).status_code == 200
