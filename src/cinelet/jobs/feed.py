"""Everything that happens, for all in this process who watch it: as it is announced, and each told of his own alone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cinelet.jobs.events import Event

MAX_BEHIND = 500
"""So many events wait for a watcher that takes them slowly; then they are dropped, and it is told that they were."""
CROWD = 20
"""From so many waiting events on, one is not worth a look of its own into the database."""


class Signal(StrEnum):
    """What is told beside events. ready: from here on nothing is missed. gap: something may have been missed."""

    READY = "ready"
    GAP = "gap"


class Told:
    """An event, shared by all who are told of it. crowded: many came at once."""

    def __init__(self, event: Event, *, crowded: bool) -> None:
        self.event = event
        self.crowded = crowded
        self._made: asyncio.Future[str] | None = None

    async def once(self, make: Callable[[Told], Awaitable[str]]) -> str:
        """Return what `make` makes of it. The first who wants it makes it, for all."""
        if self._made is None:
            self._made = asyncio.ensure_future(make(self))
            # Whoever wanted it may be gone when it fails.
            self._made.add_done_callback(lambda made: made.cancelled() or made.exception())
        return await asyncio.shield(self._made)


class _Watcher:
    """One who watches. owner: of what he sees, None for everybody's."""

    def __init__(self, owner: str | None) -> None:
        self.owner = owner
        self.waiting: deque[Told | Signal] = deque()
        self.changed = asyncio.Event()

    def put(self, told: Told | Signal) -> None:
        if len(self.waiting) >= MAX_BEHIND:
            self.waiting.clear()
            self.waiting.append(Signal.GAP)
        self.waiting.append(told)
        self.changed.set()


class Feed:
    """Hands on what a listener hears."""

    def __init__(self) -> None:
        self._watchers: set[_Watcher] = set()
        self._ended = False

    @property
    def watched(self) -> bool:
        """Whether anybody would be told."""
        return bool(self._watchers)

    def tell(self, event: Event, *, owner: str) -> None:
        """Tell everybody who sees this owner's."""
        watchers = [watcher for watcher in self._watchers if watcher.owner in {None, owner}]
        told = Told(event, crowded=any(len(watcher.waiting) >= CROWD for watcher in watchers))
        for watcher in watchers:
            watcher.put(told)

    def missed(self) -> None:
        """Tell everybody that something may have been missed."""
        for watcher in self._watchers:
            watcher.put(Signal.GAP)

    def end(self) -> None:
        """Let everybody hear what waits for him, and then no more."""
        self._ended = True
        for watcher in self._watchers:
            watcher.changed.set()

    async def watch(self, owner: str | None) -> AsyncGenerator[Told | Signal]:
        """Give `Signal.READY`, and from then on everything that happens to what the owner has, until the end."""
        watcher = _Watcher(owner)
        self._watchers.add(watcher)
        try:
            yield Signal.READY
            while True:
                while watcher.waiting:
                    yield watcher.waiting.popleft()
                if self._ended:
                    return
                watcher.changed.clear()
                await watcher.changed.wait()
        finally:
            self._watchers.discard(watcher)
