"""Each request is the beginning of a trace, or a part of its client's, and a line of the log."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cinelet.observability.logs import get_logger
from cinelet.observability.tracing import Span, SpanKind, blame_code, outside, span, trace_id

HEADER = b"x-trace-id"
REQUEST_ID = "cinelet.request_id"
"""Where a request's scope has its name."""
_TRACEPARENT = b"traceparent"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_MACHINES = frozenset({"/healthz", "/readyz", "/metrics"})
"""What is asked for every few seconds: in no trace, and in the log only for whoever debugs."""
_logger = get_logger(__name__)


class RequestTrace:
    """Opens the span that all work for a request is a part of, names the trace in the reply, and logs the request.

    What is told of a request is its method, its route, its status and its time: an address may hold a prompt.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, inside its span."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), None
        by_machine = scope["path"] in _MACHINES
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        opened = outside() if by_machine else span(method, kind=SpanKind.SERVER, parent=_parent(scope))
        with opened as answering:
            named = trace_id()

            async def told(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                    if named is not None:
                        message["headers"] = [*message["headers"], (HEADER, named.encode())]
                await send(message)

            try:
                await self._app(scope, receive, told)
            finally:
                route = getattr(scope.get("route"), "path", None)
                if answering.is_recording():
                    _describe(answering, method, route, status)
                level = logging.DEBUG if by_machine else logging.INFO
                if _logger.isEnabledFor(level):
                    facts = {"method": method, "route": route, "status": status, "request": scope.get(REQUEST_ID)}
                    _logger.log(level, "Answered", extra={**facts, "seconds": round(time.monotonic() - began, 4)})


def _describe(answering: Span, method: str, route: str | None, status: int | None) -> None:
    answering.update_name(f"{method} {route}" if route else method)
    facts = {"http.request.method": method, "http.route": route, "http.response.status_code": status}
    answering.set_attributes({name: value for name, value in facts.items() if value is not None})
    if status is None or status >= 500:
        blame_code(answering, "no_answer" if status is None else str(status))


def _parent(scope: Scope) -> str:
    """Return what the client gave, if it did: the trace is then his.

    Never None: what surrounds a request here may be an earlier one of its connection, as a transport that reads on
    keeps what it was told so in (https://github.com/python/cpython/issues/140947).
    """
    return next((str(value, "latin-1") for name, value in scope["headers"] if name == _TRACEPARENT), "")
