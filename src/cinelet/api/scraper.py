"""Who may scrape while the database is away: whoever was let in just before. That is when metrics are looked at."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import Scope

from cinelet.jobs.errors import DatabaseError, DatabaseUnavailableError
from cinelet.observability.reading import PATIENCE_SECONDS

if TYPE_CHECKING:
    from cinelet.api.access import Caller

METRICS_PATH = "/metrics"
BELIEVED_SECONDS = 3600.0
"""So long is a caller believed while nobody can be asked; a key that is revoked meanwhile still reads metrics."""
MAX_ASKED = 100
"""Callers that are asked about at once, and that are remembered."""


class Scrapers:
    """Finds callers as `find` does, but waits no longer than a scrape can."""

    def __init__(self, find: Callable[[Scope], Awaitable[Caller]]) -> None:
        self._find = find
        self._asked: dict[bytes, asyncio.Task[Caller]] = {}
        self._known: dict[bytes, tuple[float, Caller]] = {}

    async def __call__(self, scope: Scope) -> Caller:
        """Return who scrapes. Raises what `find` does, and `DatabaseUnavailableError` in place of a wait."""
        headers, server = Headers(scope=scope), str(scope.get("server"))
        facts = [server, *(headers.get(name, "") for name in ("authorization", "host", "origin"))]
        name = hashlib.sha256("\0".join(facts).encode()).digest()
        asking = self._asked.get(name)
        if asking is None and len(self._asked) < MAX_ASKED:
            asking = self._asked[name] = asyncio.create_task(_awaited(self._find(scope)), name="scraper")
            asking.add_done_callback(lambda task: self._ended(name, task))
        if asking is not None:
            # Without a cancel: to break off a question to a database that hangs takes long as well.
            await asyncio.wait({asking}, timeout=PATIENCE_SECONDS / 2)
        known_at, known = self._known.get(name, (-BELIEVED_SECONDS, None))
        is_believed = known is not None and time.monotonic() - known_at < BELIEVED_SECONDS
        if asking is not None and asking.done():
            if not (isinstance(asking.exception(), DatabaseError) and is_believed):
                return asking.result()
        elif not is_believed:
            raise DatabaseUnavailableError("The database does not say in time who this is; try again later")
        assert known is not None  # noqa: S101  (believed)
        return known

    def _ended(self, name: bytes, task: asyncio.Task[Caller]) -> None:
        del self._asked[name]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._known.pop(name, None)
            self._known[name] = time.monotonic(), task.result()
            if len(self._known) > MAX_ASKED:
                del self._known[next(iter(self._known))]
        elif not isinstance(error, DatabaseError):
            self._known.pop(name, None)


async def _awaited(found: Awaitable[Caller]) -> Caller:
    return await found
