"""What arrived, in the order of arrival."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope


@dataclass(slots=True)
class Received:
    """One request. headers: names in lower case. stage and provider: what the host took it for, or empty."""

    method: str
    host: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    stage: str = ""
    provider: str = ""

    @property
    def authorization(self) -> str:
        """The header, or an empty text."""
        return self.headers.get("authorization", "")

    def json(self) -> Any:
        """Return the body as JSON values."""
        return json.loads(self.body)

    @classmethod
    async def read(cls, scope: Scope, receive: Receive) -> Received:
        """Read the whole request, its body included."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        host = headers.get("host", "").partition(":")[0]
        return cls(
            scope["method"],
            host,
            scope["raw_path"].decode("ascii"),
            scope["query_string"].decode("ascii"),
            headers,
            body,
        )
