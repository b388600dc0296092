from __future__ import annotations

import json
import socket

import pytest

from cinelet.api.head_limit import MAX_HEAD_BYTES
from tests.api.served import Served, told

TIMEOUT_SECONDS = 20
PIECE_BYTES = 4096
FAR_TOO_MANY = 16 * MAX_HEAD_BYTES  # more than is read in one piece


def reply_to(served: Served, request: bytes) -> bytes:
    """Send a request in pieces until it is sent, or the service has hung up; return all that is answered."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=TIMEOUT_SECONDS) as connection:
        try:
            for start in range(0, len(request), PIECE_BYTES):
                connection.sendall(request[start : start + PIECE_BYTES])
        except ConnectionError:
            pass
        return told(connection)


def request_with(head: bytes, *, body: bytes = b"") -> bytes:
    lines = (
        b"POST /v1/text-to-video HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    )
    return lines + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    "head",
    [b"X-Long: " + b"a" * FAR_TOO_MANY + b"\r\n", b"X-Many: a\r\n" * (FAR_TOO_MANY // 10)],
    ids=["one long field", "many fields"],
)
def test_a_head_that_is_too_long_is_refused_before_it_ends(served: Served, head: bytes):
    answered = reply_to(served, request_with(head).removesuffix(b"\r\n\r\n"))
    status, _, body = answered.partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 431 ")
    assert json.loads(body)["error"]["code"] == "invalid_request"


def test_what_is_no_http_is_an_error_like_any_other(served: Served):
    status, _, body = reply_to(served, b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n").partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "invalid_request"


def test_a_long_head_and_a_longer_body_are_taken(served: Served):
    body = json.dumps({"prompt": "a circle", "unknown": "a" * 3 * MAX_HEAD_BYTES}).encode()
    answered = reply_to(served, request_with(b"X-Long: " + b"a" * (MAX_HEAD_BYTES // 2) + b"\r\n", body=body))
    assert answered.startswith(b"HTTP/1.1 422 "), "it was read, and its field is unknown"


def test_the_next_request_of_a_connection_is_counted_anew(served: Served):
    head = b"X-Long: " + b"a" * (MAX_HEAD_BYTES // 3) + b"\r\n\r\n"
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + head
    last = request.replace(b"\r\nX-Long", b"\r\nConnection: close\r\nX-Long")
    assert reply_to(served, request * 5 + last).count(b"HTTP/1.1 200 ") == 6
