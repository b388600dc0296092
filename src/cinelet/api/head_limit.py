"""The head of a request is counted while it arrives: the parser of uvicorn takes one of any length."""

from __future__ import annotations

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cinelet.api.errors import error_body

MAX_HEAD_BYTES = 64 * 1024


class HeadLimit(HttpToolsProtocol):
    """Answers 431 and hangs up when a head is longer than `MAX_HEAD_BYTES`, besides the piece that it began in."""

    _in_head = True
    _heads = 0
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Read on, and count what belongs to a head that goes on."""
        heads = self._heads
        super().data_received(data)
        if self._in_head and self._heads == heads:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse()

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._in_head, self._head_bytes = True, 0
        self._heads += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting: what follows is a body, which has a limit of its own."""
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  (what uvicorn would say, as plain text)
        """Answer what is no HTTP in the shape of every error."""
        self._hang_up("400 Bad Request", "This is no HTTP request that can be read; look at its head and its length")

    def _refuse(self) -> None:
        message = f"The head of the request is longer than the {MAX_HEAD_BYTES:,} bytes that are taken"
        self._hang_up("431 Request Header Fields Too Large", message)

    def _hang_up(self, status: str, message: str) -> None:
        body = json.dumps(error_body(code="invalid_request", message=message, kind="invalid_request_error")).encode()
        head = (
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
