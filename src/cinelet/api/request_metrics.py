"""Counts requests, and the time until their replies begin: how long a stream lasts, or a client reads, is not ours."""

from __future__ import annotations

import time
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cinelet.observability import metrics


class RequestMetrics:
    """Counts each request when its reply begins.

    Hands on what others await, and awaits nothing itself: one coroutine more is resumed with every step of a request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass a request on."""
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        began = time.perf_counter()

        def counted(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                # The template: a path holds ids, and whatever somebody tries.
                route = getattr(scope.get("route"), "path", None)
                metrics.replied(scope["method"], route, message["status"], time.perf_counter() - began)
            return send(message)

        return self._app(scope, receive, counted)
