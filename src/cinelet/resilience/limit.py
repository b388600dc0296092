"""LimitBackend: at most so many generations at once at a host; the others wait in line."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from cinelet.clock import watched
from cinelet.domain.backend import Backend, Capabilities, Context, GeneratedVideo
from cinelet.domain.condition import Condition, condition_of
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Stage
from cinelet.domain.request import VideoRequest


class LimitBackend:
    """A backend that has at most `limits[key(model)]` generations begun at once; the rest begin in the order they came.

    key: whose limit counts for a model, its host; None, or a host without a limit, for models that never wait. It goes
    outside of retry and breaker: their times are then the host's and not those of our own line, and a request that
    pauses before it is sent again keeps its place. One that goes on with a saved handle takes a place and never waits:
    its job runs at the host already. Safe from any thread.
    """

    def __init__(
        self, backend: Backend, *, key: Callable[[ModelReference], str | None], limits: Mapping[str, int]
    ) -> None:
        self._backend = backend
        self._key = key
        self._places = {host: _Places(limit) for host, limit in limits.items()}

    async def capabilities(self, model: ModelReference) -> Capabilities:
        """Ask the backend."""
        return await self._backend.capabilities(model)

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        """Make the video when there is a place, or raise what `context.check()` raises while it waits."""
        host = self._key(ModelReference.parse(request.model or ""))
        places = None if host is None else self._places.get(host)
        if places is None:
            return await self._backend.generate(request, context)
        if context.handle is None:
            await _wait(places.ask(), places, context, note=f"waiting for a place at {host}")
        else:
            places.take()
        try:
            return await self._backend.generate(request, context)
        finally:
            places.give_back()

    def condition(self) -> Condition:
        """Return how the backend is."""
        return condition_of(self._backend)

    async def aclose(self) -> None:
        """Close the backend."""
        await self._backend.aclose()


Ticket = Future[None]
"""Done when its holder has a place. Whether it was given or taken back first is decided by the future, once."""


class _Places:
    """The places at one host, given in the order in which they are asked for."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._line: deque[Ticket] = deque()
        self._lock = threading.Lock()

    def take(self) -> None:
        """Take a place whether or not one is free."""
        with self._lock:
            self._taken += 1

    def ask(self) -> Ticket:
        """Stand in line."""
        with self._lock:
            ticket: Ticket = Future()
            self._line.append(ticket)
            self._admit()
            return ticket

    def give_back(self) -> None:
        """Leave a place to whoever is next."""
        with self._lock:
            self._taken -= 1
            self._admit()

    def leave(self, ticket: Ticket) -> None:
        """Leave the line, or the place that the ticket was given meanwhile; in line, its turn passes to the next."""
        if not ticket.cancel():
            self.give_back()

    def _admit(self) -> None:
        while self._line and self._taken < self._limit:
            ticket = self._line.popleft()
            if ticket.set_running_or_notify_cancel():
                self._taken += 1
                ticket.set_result(None)


async def _wait(ticket: Ticket, places: _Places, context: Context, *, note: str) -> None:
    """Return when the ticket has a place; where the context or the task is stopped first, none is kept."""
    try:
        if not ticket.done():
            context.report(Stage.QUEUED, 0.0, measured=False, note=note)
            await watched(asyncio.wrap_future(ticket), context=context)
    except BaseException:
        places.leave(ticket)
        raise
