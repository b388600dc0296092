"""Counts requests, and the time until their replies begin: how long a stream lasts, or a client reads, is not ours."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cinelet.observability import metrics


class RequestMetrics:
    """Counts each request when its reply begins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The template: a path holds ids, and whatever somebody tries.
                route = getattr(scope.get("route"), "path", None)
                metrics.replied(scope["method"], route, message["status"], time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, counted)
