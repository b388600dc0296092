"""A name for each request, in its reply; and the last resort of a request that fails as nobody foresaw."""

from __future__ import annotations

import secrets
import traceback

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cinelet.api.errors import error_body
from cinelet.api.request_trace import REQUEST_ID
from cinelet.observability import metrics
from cinelet.observability.logs import bound, get_logger

HEADER = b"x-request-id"
_logger = get_logger(__name__)


class RequestId:
    """Adds the name; streams pass as they come. What nobody foresaw becomes a reply, and a line of the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and name its reply."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[REQUEST_ID] = name = secrets.token_hex(12)
        begun = False

        async def named(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message["headers"], (HEADER, name.encode())]
            await send(message)

        with bound(request=name):
            try:
                await self._app(scope, receive, named)
            except Exception as error:
                facts = {
                    "route": getattr(scope.get("route"), "path", None),
                    "failure": type(error).__name__,
                    "where": _where(error),
                }
                # Without its message: what another library says of its failure may hold a prompt.
                _logger.error("A request failed in a way that nobody foresaw", extra=facts)  # noqa: TRY400
                _logger.debug("A request failed", exc_info=error)
                if not begun:
                    metrics.refused("internal_error")
                    message = "Something failed here; the log says what, under this request's id"
                    reply = JSONResponse(error_body(code="internal_error", message=message, kind="server_error"), 500)
                    await reply(scope, receive, named)


def _where(error: Exception) -> str:
    """Return the places that an error came through, the innermost last."""
    places = traceback.extract_tb(error.__traceback__)[-8:]
    return " > ".join(f"{place.filename.rpartition('/')[2]}:{place.lineno} {place.name}" for place in places)
