"""Bodies are counted while they arrive, whatever their headers say."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FIELDS_BYTES = 512 * 1024
"""For everything beside an image."""


class BodyLimit:
    """Refuses a body with 413 as soon as it is longer than `max_bytes`."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with a body that is counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # A length that is too much is believed at once; one that is not is counted all the same.
        arrived = declared if (declared := _declared(scope)) > self._max_bytes else 0

        async def counted() -> Message:
            nonlocal arrived
            self._require_room(arrived)
            message = await receive()
            arrived += len(message.get("body", b""))
            self._require_room(arrived)
            return message

        await self._app(scope, counted, send)

    def _require_room(self, arrived: int) -> None:
        if arrived > self._max_bytes:
            why = f"The body is longer than the {self._max_bytes:,} bytes that are taken"
            # Closed, or the rest would be read only to be thrown away.
            raise HTTPException(413, why, {"connection": "close"})


def _declared(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 19 else 0
