"""A real nginx in front: the service says who may have a file, and nginx sends it."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cinelet.config import Config
from cinelet.domain.errors import ValidationError
from cinelet.testing import FakeBackend
from tests.api.served import Served, made
from tests.docs.documents import ROOT, code_blocks

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
PREFIX = "/protected-videos/"
START_SECONDS = 20.0
DOCUMENTED = ROOT / "docs" / "10-http-service.md"


@dataclass
class Front:
    """The service, and nginx before it. direct: a client that goes past nginx."""

    client: httpx2.Client
    direct: httpx2.Client
    generation: dict[str, Any]


def documented(served: Served, port: int) -> str:
    """Return the server of the documents, on this port, before this service."""
    (block,) = (block.code for block in code_blocks(DOCUMENTED) if block.language == "nginx")
    there = {
        "listen 443 ssl;": f"listen 127.0.0.1:{port};",
        "127.0.0.1:8000": f"127.0.0.1:{served.port}",
        "/var/lib/cinelet/storage/": f"{served.config.cinelet_data_dir}/storage/",
    }
    for said, here in there.items():
        assert block.count(said) == 1, f"{DOCUMENTED.name} no longer says {said}"
        block = block.replace(said, here)
    return block


def configuration(folder: Path, server: str) -> str:
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;"
        f"events {{}} http {{ access_log off; {temporary} {server} }}"
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def front(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    if NGINX is None:
        pytest.skip("nginx is not installed (apt-get install nginx-light)")
    folder = tmp_path_factory.mktemp("nginx")
    data, port = copy_data(folder / "data"), free_port()
    with Served(data, make_backend=FakeBackend, cinelet_accel_prefix=PREFIX) as served:
        (folder / "nginx.conf").write_text(configuration(folder, documented(served, port)))
        with subprocess.Popen([NGINX, "-p", folder, "-c", folder / "nginx.conf"], stderr=subprocess.PIPE) as process:
            try:
                wait_for(port, process)
                with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                    yield Front(client, served.client, made(client, seed=1))
            finally:
                process.kill()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, "nginx does not start"
        assert time.monotonic() < end, "nginx does not listen"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return


def test_the_service_sends_where_the_file_is_and_nothing_of_it(front: Front) -> None:
    links, result = front.generation["links"], front.generation["result"]
    reply = front.direct.get(links["video"], headers={"range": "bytes=0-9"})
    assert (reply.status_code, reply.content, reply.headers["content-type"]) == (200, b"", "video/mp4")
    where = reply.headers["x-accel-redirect"]
    assert where.startswith(f"{PREFIX}blobs/")
    assert where.endswith(f"{result['sha256']}.mp4")
    assert reply.headers["etag"] == f'"{result["sha256"]}"'
    assert front.direct.get(links["thumbnail"]).headers["x-accel-redirect"].startswith(f"{PREFIX}previews/")


def test_nginx_sends_the_whole_file_under_our_headers(front: Front) -> None:
    generation = front.generation
    reply = front.client.get(generation["links"]["video"])
    assert reply.status_code == 200
    assert hashlib.sha256(reply.content).hexdigest() == generation["result"]["sha256"]
    assert reply.headers["server"].startswith("nginx")
    assert reply.headers["etag"] == f'"{generation["result"]["sha256"]}"'
    assert reply.headers["content-type"] == "video/mp4"
    assert reply.headers["cache-control"] == "private, immutable"
    assert reply.headers["content-disposition"] == f'inline; filename="{generation["id"]}.mp4"'
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["x-cinelet-generation"] == generation["id"]
    assert "x-accel-redirect" not in reply.headers


@pytest.mark.parametrize(
    ("asked", "part"),
    [("bytes=0-9", slice(0, 10)), ("bytes=100-", slice(100, None)), ("bytes=-7", slice(-7, None))],
)
def test_nginx_serves_ranges_by_itself(front: Front, asked: str, part: slice) -> None:
    where = front.generation["links"]["video"]
    whole = front.client.get(where)
    reply = front.client.get(where, headers={"range": asked, "if-range": whole.headers["etag"]})
    assert (reply.status_code, reply.content) == (206, whole.content[part])
    other = front.client.get(where, headers={"range": asked, "if-range": '"other"'})
    assert (other.status_code, other.content) == (200, whole.content)
    assert front.client.get(where, headers={"range": "bytes=999999999-"}).status_code == 416
    assert front.client.get(where, headers={"if-none-match": whole.headers["etag"]}).status_code == 304


def test_pictures_go_the_same_way(front: Front) -> None:
    for name, kind in (("thumbnail", "image/webp"), ("spritesheet", "image/webp")):
        reply = front.client.get(front.generation["links"][name])
        assert (reply.status_code, reply.headers["content-type"]) == (200, kind)
        assert reply.content[8:12] == b"WEBP"


@pytest.mark.parametrize(
    "path",
    [
        "{key}",
        "{key}?x",
        "../{key}",
        "blobs/%2e%2e/{key}",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%2f..%2f..%2fetc/passwd",
        "",
    ],
)
def test_nobody_reaches_the_folder_from_outside(front: Front, path: str) -> None:
    key = front.direct.get(front.generation["links"]["video"]).headers["x-accel-redirect"].removeprefix(PREFIX)
    with socket.create_connection((front.client.base_url.host, front.client.base_url.port or 0), timeout=20) as wire:
        target = f"{PREFIX}{path.format(key=key)}"
        wire.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        reply = b""
        while piece := wire.recv(65536):
            reply += piece
    assert reply.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), reply[:200]
    assert b"ftyp" not in reply
    assert b"root:" not in reply


def test_the_reply_is_given_only_to_whom_it_belongs(front: Front) -> None:
    missing = front.client.get("/v1/generations/gen_aaaaaaaaaaaaaaaaaaaaaaaaaa/video")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "generation_not_found")


@pytest.mark.parametrize(
    "prefix", ["videos/", "/videos", "/", "/a/../b/", "/a b/", "/a%2f/", "//", "http://x/", "/a/\n"]
)
def test_a_prefix_is_a_plain_path(prefix: str) -> None:
    with pytest.raises(ValidationError, match="CINELET_ACCEL_PREFIX"):
        Config(cinelet_accel_prefix=prefix)
