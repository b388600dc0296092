"""HEAD: the headers of a file without the file."""

from __future__ import annotations

import httpx2
import pytest

from cinelet.testing import example_image
from tests.api.served import SHORT


@pytest.fixture(scope="module")
def generation(client: httpx2.Client) -> str:
    files = {"image": ("heron.png", example_image())}
    reply = client.post("/v1/image-to-video", data=SHORT, files=files, headers={"prefer": "wait=30"})
    assert reply.json()["state"] == "completed", reply.text
    return str(reply.json()["id"])


@pytest.mark.parametrize(
    "where",
    [
        "/v1/generations/{}/video",
        "/v1/generations/{}/thumbnail",
        "/v1/generations/{}/spritesheet?redirect=false",
        "/v1/generations/{}/image",
        "/v1/videos/{}/content",
        "/v1/videos/{}/content?variant=thumbnail",
    ],
)
def test_head_tells_of_a_file_what_get_does(client: httpx2.Client, generation: str, where: str) -> None:
    got = client.get(where.format(generation))
    told = client.head(where.format(generation))
    each_its_own = {"date", "x-request-id", "x-trace-id"}
    assert (told.status_code, told.content) == (200, b"")
    assert told.headers["content-length"] == str(len(got.content))
    assert {name: value for name, value in told.headers.items() if name not in each_its_own} == {
        name: value for name, value in got.headers.items() if name not in each_its_own
    }


def test_head_of_what_is_known_or_missing_is_as_get(client: httpx2.Client, generation: str) -> None:
    where = f"/v1/generations/{generation}/video"
    etag = client.head(where).headers["etag"]
    assert client.head(where, headers={"if-none-match": etag}).status_code == 304
    assert client.head(where, headers={"range": "bytes=0-9"}).status_code == 200
    assert client.head("/v1/generations/gen_nothing/video").status_code == 404
    assert client.head(f"{where}?foo=1").status_code == 422
    assert client.head(f"/v1/videos/{generation}/content?variant=sound").status_code == 422


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/generations", "GET"),
        ("/v1/generations/gen_x", "DELETE, GET"),
        ("/v1/text-to-video", "POST"),
        ("/v1/videos", "GET, POST"),
        ("/v1/models/embedded", "GET"),
        ("/healthz", "GET"),
        ("/", "GET"),
    ],
)
def test_where_there_is_no_file_head_is_refused_with_what_there_is(
    client: httpx2.Client, path: str, allowed: str
) -> None:
    reply = client.head(path)
    assert (reply.status_code, reply.headers["allow"]) == (405, allowed)


def test_another_method_is_told_of_head_where_there_is_a_file(client: httpx2.Client, generation: str) -> None:
    assert client.put(f"/v1/generations/{generation}/video").headers["allow"] == "GET, HEAD"
