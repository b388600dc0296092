"""A redirect to another path of this service names the path alone, and no host that the client has made up."""

from __future__ import annotations

from starlette.datastructures import URL, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class OwnRedirect:
    """Starlette sends `/docs/` on to `/docs` at whatever host the request has named; here it is relative."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and look at where its reply leads."""
        if scope["type"] != "http" or not scope["path"].endswith("/"):
            await self._app(scope, receive, send)
            return

        async def led(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 307:
                headers, asked = MutableHeaders(scope=message), URL(scope=scope)
                here = f"{asked.scheme}://{asked.netloc}/"
                if headers.get("location", "").startswith(here):
                    headers["location"] = "/" + headers["location"].removeprefix(here).lstrip("/")
            await send(message)

        await self._app(scope, receive, led)
