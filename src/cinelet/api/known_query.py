"""What stands behind the `?` of an address is what its route takes, or refused by name."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from cinelet.api.errors import name_in_reply
from cinelet.domain.errors import ValidationError


async def require_known_query(request: Request) -> None:
    """Raise `ValidationError` for a query parameter that the route does not take, or that is given twice.

    What is not described, such as the page, takes whatever comes.
    """
    if not request.url.query:
        return
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    operation = paths.get(request.scope["route"].path_format, {}).get(request.method.lower())
    if operation is None:
        return
    taken = [parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"]
    given: set[str] = set()
    for name, _ in request.query_params.multi_items():
        told = name_in_reply(name)
        if name not in taken:
            todo = f"it takes {', '.join(taken)}" if taken else "it takes none"
            raise ValidationError(f"This path has no parameter {told!r}; {todo}", {told: "Unknown parameter"})
        if name in given:
            raise ValidationError(f"{told} is given twice; give it once", {told: "Given twice"})
        given.add(name)
