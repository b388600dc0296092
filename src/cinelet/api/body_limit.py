"""Bodies are counted while they arrive, whatever their headers say."""

from __future__ import annotations

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
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self._max_bytes:
                why = f"The body is longer than the {self._max_bytes:,} bytes that are taken"
                # Closed, or the rest would be read only to be thrown away.
                raise HTTPException(413, why, {"connection": "close"})
            return message

        await self._app(scope, counted, send)
