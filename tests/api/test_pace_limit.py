"""Whoever sends nothing is not waited for; whoever has sent all may wait, and so may a slow one that goes on."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cinelet.api import pace_limit
from cinelet.testing import FakeBackend
from tests.api.served import Served, told

HEAD_SECONDS, BODY_SECONDS, MIN_BODY_BYTES = 1.0, 1.0, 10
LONG_SECONDS = 2.0
PIECE_BYTES = 20
TIMEOUT_SECONDS = 20
HEAD = b"POST /v1/text-to-video HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
FULL = json.dumps({"prompt": "a gull", "duration": 1, "fps": 4, "seed": 0}).encode().ljust(8 * PIECE_BYTES)


@pytest.fixture(scope="module")
def served(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = copy_data(tmp_path_factory.mktemp("paced") / "data")
    with Served(data, make_backend=FakeBackend, worker=False) as served:
        yield served


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_limit, "HEAD_SECONDS", HEAD_SECONDS)
    monkeypatch.setattr(pace_limit, "BODY_SECONDS", BODY_SECONDS)
    monkeypatch.setattr(pace_limit, "MIN_BODY_BYTES", MIN_BODY_BYTES)


@pytest.fixture
def connection(served: Served) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", served.port), timeout=TIMEOUT_SECONDS) as connection:
        yield connection


def require_timeout(answered: bytes, what: str) -> None:
    status, _, body = answered.partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 408 "), answered
    error = json.loads(body)["error"]
    assert (error["code"], error["type"]) == ("invalid_request", "invalid_request_error")
    assert what in error["message"]


def test_a_connection_on_which_nothing_is_sent_is_closed(connection: socket.socket) -> None:
    assert told(connection) == b""


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_half_a_head_is_not_waited_for(connection: socket.socket, before: bytes) -> None:
    connection.sendall(before + HEAD)
    _, _, rest = told(connection).rpartition(b"HTTP/1.1 408 ")
    require_timeout(b"HTTP/1.1 408 " + rest, "The head")


def test_a_head_of_which_a_little_comes_now_and_then_has_no_more_time(connection: socket.socket) -> None:
    begun = time.monotonic()
    connection.sendall(HEAD)
    with suppress(ConnectionError):
        while time.monotonic() - begun < TIMEOUT_SECONDS:
            connection.sendall(b"X-More: 1\r\n")
            time.sleep(HEAD_SECONDS / 6)
    assert time.monotonic() - begun < TIMEOUT_SECONDS


@pytest.mark.parametrize("length", [b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_half_a_body_is_not_waited_for(connection: socket.socket, length: bytes) -> None:
    connection.sendall(HEAD + length + b"\r\n1\r\n{\r\n")
    require_timeout(told(connection), "the body")


def test_a_body_that_was_answered_before_it_was_whole_is_not_waited_for(connection: socket.socket) -> None:
    connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
    time.sleep(BODY_SECONDS / 3)
    connection.sendall(b"{")  # which ends uvicorn's own wait
    answered = told(connection)
    assert answered.startswith(b"HTTP/1.1 404 ")
    assert answered.count(b"HTTP/1.1") == 1


def test_a_slow_body_that_goes_on_is_taken(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(FULL))
    begun = time.monotonic()
    for start in range(0, len(FULL), PIECE_BYTES):
        connection.sendall(FULL[start : start + PIECE_BYTES])
        time.sleep(BODY_SECONDS / 4)
    assert time.monotonic() - begun > BODY_SECONDS
    assert told(connection).startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize("after", [b"", b"GET /healthz HT"], ids=["nothing after it", "half a head after it"])
def test_who_has_sent_all_may_wait_for_the_answer(connection: socket.socket, after: bytes) -> None:
    head = HEAD + b"Prefer: wait=%d\r\nContent-Length: %d\r\n\r\n" % (LONG_SECONDS, len(FULL))
    begun = time.monotonic()
    connection.sendall(head + FULL + after)
    assert connection.recv(65536).startswith(b"HTTP/1.1 202 ")
    assert time.monotonic() - begun >= LONG_SECONDS


def test_a_stream_of_events_goes_on(served: Served, connection: socket.socket) -> None:
    connection.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answered = connection.recv(65536)
    assert answered.startswith(b"HTTP/1.1 200 ")
    time.sleep(LONG_SECONDS)
    assert served.client.post("/v1/text-to-video", json={"prompt": "told of"}).status_code == 202
    while b"event: generation" not in answered:
        piece = connection.recv(65536)
        assert piece, answered
        answered += piece
