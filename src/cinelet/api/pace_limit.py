"""A client that sends nothing, or next to nothing, is not waited for: uvicorn alone would keep it for ever."""

from __future__ import annotations

import asyncio
from typing import Literal

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from cinelet.api.head_limit import HeadLimit

HEAD_SECONDS = 20.0
"""What a head may take, from the first byte of a request or from when the connection was made."""
BODY_SECONDS = 30.0
MIN_BODY_BYTES = 1024
"""So much of a body arrives in each `BODY_SECONDS`, or the rest of it."""


class PaceLimit(HeadLimit):
    """Answers 408 and hangs up when a request arrives too slowly. One that has arrived may wait for its answer."""

    _part: Literal["head", "body"] | None = "head"
    """What is being sent; None between two requests."""
    _parts = 0
    _arrived = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._part = None
        self._watch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, and begin to wait for what is to come next."""
        parts = self._parts
        if self._part is None:
            self._on_part("head")  # also where it is no more than an empty line
        super().data_received(data)
        if self._parts != parts and not self.transport.is_closing():
            self._watch()
        self._arrived += len(data)

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        if self._part != "head":
            self._on_part("head")
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that a body begins."""
        self._on_part("body")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that there is nothing to wait for; uvicorn itself ends a connection that is not used again."""
        self._on_part(None)
        super().on_message_complete()

    def _on_part(self, part: Literal["head", "body"] | None) -> None:
        self._part = part
        self._parts += 1

    def _watch(self) -> None:
        """Look again when the time of a part is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._arrived = 0
        if self._part is not None:
            seconds = HEAD_SECONDS if self._part == "head" else BODY_SECONDS
            self._timer = self.loop.call_later(seconds, self._time_is_over)

    def _time_is_over(self) -> None:
        if self._is_kept_waiting() or (self._part == "body" and self._arrived >= MIN_BODY_BYTES):
            self._watch()
        elif self.transport.is_closing() or self._is_answered():
            self.transport.abort()
        elif self._part == "body":
            message = f"Fewer than {MIN_BODY_BYTES:,} bytes of the body arrived in {BODY_SECONDS:g} s; send it faster"
            self._hang_up("408 Request Timeout", message)
        elif self._arrived:
            message = f"The head of the request did not end within {HEAD_SECONDS:g} s; send it at once"
            self._hang_up("408 Request Timeout", message)
        else:
            self.transport.close()

    def _is_kept_waiting(self) -> bool:
        """Tell whether it is the service that takes nothing now, or owes the answer to an earlier request first."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return self._part == "head" or self.flow.read_paused or cycle.waiting_for_100_continue or bool(self.pipeline)

    def _is_answered(self) -> bool:
        """Tell whether an answer was begun before all of the body was there."""
        return self._part == "body" and self.cycle.response_started
