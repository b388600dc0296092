"""A bucket that cannot be reached or that refuses: one line, soon, without a credential."""

from __future__ import annotations

import asyncio
import http.server
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cinelet.storage import bucket
from cinelet.storage.blobs import BlobStore, open_store
from cinelet.storage.errors import BlobNotFoundError, StorageDeniedError, StorageError
from tests.storage.bucket_server import SECRET, options


@contextmanager
def answering(status: int, code: str) -> Iterator[str]:
    """Yield the address of a server that gives one answer, which quotes what it was sent."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            body = f"<Error><Code>{code}</Code><Message>{self.headers['authorization']}</Message></Error>".encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = answer  # noqa: N815  (names of the library)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "RETRIES", {"max_retries": 0})


def opened(endpoint: str) -> BlobStore:
    return open_store("s3://videos/prefix", options=options(endpoint))


@contextmanager
def one_line(kind: type[StorageError]) -> Iterator[None]:
    with pytest.raises(kind) as caught:
        yield
    said = f"{caught.value!s} {caught.value!r} {caught.value.to_dict()}"
    assert type(caught.value) is kind
    assert "\n" not in said
    assert SECRET not in said
    assert "AKIA" not in said
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__, "the cause's text holds what was sent"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def test_a_store_that_is_not_there_is_an_error_in_one_line(tmp_path: Path) -> None:
    store = opened(f"http://127.0.0.1:{free_port()}")
    (tmp_path / "video.mp4").write_bytes(b"1")
    for call in (
        store.head("a.json"),
        store.get_bytes("a.json"),
        store.put_bytes("a.json", b"1"),
        store.put_bytes("a.json", b"1", create=True),
        store.put_file(tmp_path / "video.mp4", suffix=".mp4"),
        store.get_to_file("a.json", tmp_path / "copy"),
        store.listed("a"),
        store.delete("a.json"),
    ):
        with one_line(StorageError):
            asyncio.run(call)
    assert {path.name for path in tmp_path.iterdir()} == {"video.mp4"}


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_told_from_a_failure(status: int) -> None:
    with answering(status, "AccessDenied") as endpoint, one_line(StorageDeniedError):
        asyncio.run(opened(endpoint).get_bytes("a.json"))


@pytest.mark.parametrize(("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (400, "BadRequest")])
def test_a_failure_says_the_hosts_own_code(status: int, code: str) -> None:
    with answering(status, code) as endpoint:
        with one_line(StorageError):
            asyncio.run(opened(endpoint).get_bytes("a.json"))
        with pytest.raises(StorageError, match=f"{code}|{status}"):
            asyncio.run(opened(endpoint).put_bytes("a.json", b"1"))


def test_a_missing_key_is_told_from_a_missing_bucket() -> None:
    with answering(404, "NoSuchKey") as endpoint, pytest.raises(BlobNotFoundError):
        asyncio.run(opened(endpoint).get_bytes("a.json"))
    with answering(404, "NoSuchBucket") as endpoint, one_line(StorageError):
        asyncio.run(opened(endpoint).get_bytes("a.json"))


def test_a_signed_url_ends_when_it_was_asked_to() -> None:
    url = asyncio.run(opened("http://127.0.0.1:1").presigned_url("a/b.mp4", seconds=90))
    assert url is not None
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    assert query["X-Amz-Expires"] == "90"
    assert SECRET not in url


def test_an_azure_container_signs_as_well() -> None:
    store = open_store("az://videos/prefix", options={"account_name": "account", "account_key": "c2VjcmV0"})
    url = asyncio.run(store.presigned_url("a/b.mp4", seconds=90))
    assert url is not None
    assert url.startswith("https://account.blob.core.windows.net/videos/prefix/a/b.mp4?")


def test_options_are_not_shown() -> None:
    assert SECRET not in repr(opened("http://127.0.0.1:1"))
