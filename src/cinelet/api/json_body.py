"""JSON as it is sent: a field that stands there twice is refused, as only one of the two would count."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from cinelet.api.errors import name_in_reply
from cinelet.domain.errors import ValidationError


def read_json(text: str | bytes) -> Any:
    """Read JSON. Raises what `json.loads` does, and `ValidationError` that names a field that is given twice."""
    return json.loads(text, object_pairs_hook=_once_each)


class JsonRoute(APIRoute):
    """A route whose request reads its body by `read_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what FastAPI does, for such a request."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handle_json


class _JsonRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = read_json(await self.body())
        return self._json


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        told = name_in_reply(next(name for name in names if names.count(name) > 1))
        raise ValidationError(f"{told} is given twice; give it once", {told: "Given twice"})
    return found
