"""What happens to generations, as it happens, in every process: replayed from the table, then as it is announced."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from cinelet.clock import Clock, SystemClock, cancel_task
from cinelet.jobs.database import Database
from cinelet.jobs.feed import Feed, Signal, Told
from cinelet.jobs.generation import Generation
from cinelet.jobs.ledger import JobLedger
from cinelet.jobs.states import State

_ID = re.compile("gen_[a-z2-7]{26}")
KEPT_SECONDS = 24 * 3600.0
"""How long events are kept; what became of a generation is kept as long as it is."""


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a generation. position: grows with each one; to go on from there later.

    eta_seconds: until the end of the stage, where that can be known from measured steps.
    """

    position: int
    generation_id: str
    at: datetime
    state: State
    progress: float
    stage: str | None
    step: int
    steps: int
    eta_seconds: float | None
    note: str
    cancel_requested: bool
    attempt: int
    previews: int = 0

    @classmethod
    def read(cls, position: int, generation_id: str, at: datetime, data: Mapping[str, Any]) -> Self:
        """Return the event of a row."""
        return cls(position, generation_id, at, **{**data, "state": State(data["state"])})

    @classmethod
    def of(cls, generation: Generation, *, position: int) -> Self:
        """Return what a generation is now as an event: for one whose events are no longer kept."""
        return cls(
            position=position,
            generation_id=generation.id,
            at=generation.finished_at or generation.created_at,
            state=generation.state,
            progress=generation.progress,
            stage=generation.stage,
            step=generation.step,
            steps=generation.steps,
            eta_seconds=generation.eta_seconds,
            note=generation.note,
            cancel_requested=generation.cancel_requested,
            attempt=generation.attempt,
            previews=generation.previews,
        )


class Events:
    """One listener for a process, however many watch. It begins with the first who does; `aclose` it at the end."""

    def __init__(self, database: Database, ledger: JobLedger, *, clock: Clock | None = None) -> None:
        self._database = database
        self._ledger = ledger
        self._clock: Clock = clock or SystemClock()
        self._watchers: dict[str, set[asyncio.Queue[Event | None]]] = {}
        self._listeners: set[Callable[[Event], None]] = set()
        self._feed = Feed()
        self._listening: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._watches_end = False

    async def start(self) -> None:
        """Begin to listen; returns when nothing more is missed. May be called again."""
        if self._ready.is_set():
            return
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name="events")
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._listening}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            failed, self._listening = self._listening, None
            await failed  # raises what it ended with

    def end_watches(self) -> None:
        """Let everybody who watches hear what has happened up to now, and then no more: this process is to stop."""
        self._watches_end = True
        self._send_to_the_table()
        self._feed.end()

    async def aclose(self) -> None:
        """Stop listening; whoever watches hears no more."""
        if self._listening is not None:
            await cancel_task(self._listening)
            self._listening = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def on_event(self, call: Callable[[Event], None]) -> Callable[[], None]:
        """Call `call` with every event of every generation from `start` on; returns what takes this back."""
        self._listeners.add(call)
        return lambda: self._listeners.discard(call)

    async def watch(self, generation_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """Give what happened to a generation after a position, and what happens, until it has ended or watches end.

        Nothing where there is no such generation.
        """
        await self.start()
        heard: asyncio.Queue[Event | None] = asyncio.Queue()
        self._watchers.setdefault(generation_id, set()).add(heard)
        try:
            last = after
            while await self._ledger.get(generation_id) is not None:
                # At first, and whenever something may have been missed: from the table.
                async for event in self._replayed(generation_id, after=last):
                    last = event.position
                    yield event
                    if event.state.final:
                        return
                if self._watches_end:
                    return
                missed = False
                while not missed:
                    event_or_gap = await heard.get()
                    missed = event_or_gap is None
                    if event_or_gap is not None and event_or_gap.position > last:
                        last = event_or_gap.position
                        yield event_or_gap
                        if event_or_gap.state.final:
                            return
        finally:
            watchers = self._watchers[generation_id]
            watchers.discard(heard)
            if not watchers:
                del self._watchers[generation_id]

    async def watch_all(self, *, owner: str | None) -> AsyncGenerator[Told | Signal]:
        """Return what gives everything that happens to the generations of an owner (None: of any), until watches end.

        Nothing from before is told. Raises `DatabaseUnavailableError` where nothing can be heard.
        """
        await self.start()
        return self._feed.watch(owner)

    async def _replayed(self, generation_id: str, *, after: int) -> AsyncIterator[Event]:
        async with self._database.connection() as connection:
            rows = await connection.execute(
                "SELECT position, generation_id, at, data FROM generation_events"
                " WHERE generation_id = %s AND position > %s ORDER BY position",
                [generation_id, after],
            )
            found = [Event.read(*row) for row in await rows.fetchall()]
        for event in found:
            yield event
        if not found:
            generation = await self._ledger.get(generation_id)
            if generation is not None and generation.state.final:
                yield Event.of(generation, position=after)

    async def _listen(self) -> None:
        async for told in self._database.listen([f"{self._database.schema}_generations"], clock=self._clock):
            if told is None:
                self._send_to_the_table()
                self._feed.missed()
                self._ready.set()
            else:
                self._heard(told[1])

    def _send_to_the_table(self) -> None:
        """Let everybody who watches one generation read what he may have missed."""
        for watchers in self._watchers.values():
            for heard in watchers:
                heard.put_nowait(None)

    def _heard(self, payload: str) -> None:
        # Every process hears of every generation, and most are nobody's concern here: to read one costs more.
        named = _ID.search(payload)
        watched = named is not None and named[0] in self._watchers
        if not (watched or self._listeners or self._feed.watched):
            return
        told = json.loads(payload)
        event = Event.read(told["position"], told["generation_id"], datetime.fromisoformat(told["at"]), told["data"])
        for heard in self._watchers.get(event.generation_id, ()):
            heard.put_nowait(event)
        for call in list(self._listeners):
            call(event)
        self._feed.tell(event, owner=told["owner"])


async def forget_old(database: Database) -> int:
    """Remove events that are older than a day; returns how many."""
    async with database.connection() as connection:
        removed = await connection.execute(
            "DELETE FROM generation_events WHERE at < clock_timestamp() - make_interval(secs => %s)", [KEPT_SECONDS]
        )
    return removed.rowcount
