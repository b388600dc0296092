"""Who watches everything hears of what he sees, of nothing else, and knows when something may have been missed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from cinelet.domain.progress import Progress, Stage
from cinelet.jobs.events import Event
from cinelet.jobs.feed import CROWD, MAX_BEHIND, Feed, Signal, Told
from cinelet.jobs.states import State
from tests.jobs.shop import SECONDS, Shop

AN_EVENT = Event(
    1, "gen_x", datetime.now(UTC), State.QUEUED, 0.0, None, 0, 0, None, "", cancel_requested=False, attempt=0
)


async def heard(watched: AsyncIterator[Told | Signal], count: int) -> list[Any]:
    """Return the next ones, an event as (id, state)."""
    found: list[Any] = []
    async with asyncio.timeout(SECONDS):
        while len(found) < count:
            told = await anext(watched)
            found.append(told if isinstance(told, Signal) else (told.event.generation_id, told.event.state))
    return found


def test_each_owner_hears_of_his_own_and_an_administrator_of_all(with_shop):
    async def work(shop: Shop):
        watched = {owner: await shop.jobs.events.watch_all(owner=owner) for owner in ("ada", "bob", None)}
        for one in watched.values():
            assert await heard(one, 1) == [Signal.READY]
        hers = (await shop.submit(options={"owner": "ada"})).id
        his = (await shop.submit(options={"owner": "bob"})).id
        await shop.ledger.request_cancel(hers)
        queued, ended = State.QUEUED, State.CANCELLED
        assert await heard(watched["ada"], 2) == [(hers, queued), (hers, ended)]
        assert await heard(watched["bob"], 1) == [(his, queued)]
        assert await heard(watched[None], 3) == [(hers, queued), (his, queued), (hers, ended)]
        for one in watched.values():
            await one.aclose()

    with_shop(work)


def test_a_hundred_who_watch_everything_cost_one_listener_and_one_look_at_an_end(with_shop):
    async def work(shop: Shop):
        looks: list[str] = []

        async def look(told: Told) -> str:
            looks.append(told.event.generation_id)
            generation = await shop.ledger.get(told.event.generation_id)
            assert generation is not None
            return generation.state.value

        async def watch() -> list[str]:
            found: list[str] = []
            async with aclosing(await shop.jobs.events.watch_all(owner=None)) as watched:
                async for told in watched:
                    if told is Signal.READY:
                        ready.release()
                    elif isinstance(told, Told) and told.event.state.final:
                        found.append(await told.once(look))
                        return found
            return found

        ready = asyncio.Semaphore(0)
        watching = [asyncio.create_task(watch()) for _ in range(100)]
        async with asyncio.timeout(SECONDS):
            for _ in watching:
                await ready.acquire()
            query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' AND query LIKE %s"
            async with shop.jobs.database.connection() as connection:
                row = await (await connection.execute(query, [f"%{shop.jobs.database.schema}_generations%"])).fetchone()
            made = await shop.submit()
            await shop.ledger.request_cancel(made.id)
            told = await asyncio.gather(*watching)
        assert row == (1,)
        assert told == [["cancelled"]] * 100
        assert looks == [made.id]

    with_shop(work)


def test_a_lost_connection_to_the_database_is_told_as_a_gap(with_shop):
    async def work(shop: Shop):
        async with aclosing(await shop.jobs.events.watch_all(owner=None)) as watched:
            assert await heard(watched, 1) == [Signal.READY]
            async with shop.jobs.database.connection() as connection:
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE %s",
                    [f'LISTEN "{shop.jobs.database.schema}_generations%'],
                )
            unheard = await shop.submit()
            assert await heard(watched, 1) == [Signal.GAP]
            await shop.ledger.request_cancel(unheard.id)
            assert await heard(watched, 1) == [(unheard.id, State.CANCELLED)]

    with_shop(work)


def test_a_process_that_is_to_stop_ends_what_is_watched_and_what_begins_to_be(with_shop):
    async def work(shop: Shop):
        before = await shop.jobs.events.watch_all(owner=None)
        assert await heard(before, 1) == [Signal.READY]
        waits = asyncio.create_task(anext(before, None))
        await asyncio.sleep(0)
        shop.jobs.events.end_watches()
        async with asyncio.timeout(SECONDS):
            assert await waits is None
            assert [one async for one in await shop.jobs.events.watch_all(owner=None)] == [Signal.READY]

    with_shop(work)


def test_where_nobody_watches_no_announcement_is_read(with_shop, monkeypatch):
    async def work(shop: Shop):
        reads: list[str] = []

        def loads(text: str) -> Any:
            reads.append(text)
            return json.loads(text)

        monkeypatch.setattr("cinelet.jobs.events.json", SimpleNamespace(loads=loads))
        watched = await shop.jobs.events.watch_all(owner="ada")
        assert await heard(watched, 1) == [Signal.READY]
        await shop.submit(options={"owner": "ada"})
        await heard(watched, 1)
        read = len(reads)
        await watched.aclose()
        one: Any = shop.jobs.events.watch((await shop.submit()).id)
        async with aclosing(one):
            await anext(one)
            claimed = await shop.claim((await shop.submit()).id, worker="w")
            await shop.ledger.progress(claimed.id, claimed.attempt, Progress(Stage.DENOISING, 0.5, 1, 2))
            await asyncio.sleep(0.1)
        assert read == 1
        assert len(reads) <= read + 1, "of those that are not watched"

    with_shop(work)


def test_who_takes_his_events_slowly_is_told_that_some_were_dropped():
    async def work():
        feed = Feed()
        slow, quick = feed.watch("ada"), feed.watch(None)
        assert await heard(slow, 1) == await heard(quick, 1) == [Signal.READY]
        for _ in range(3 * MAX_BEHIND + 5):
            feed.tell(AN_EVENT, owner="ada")
            await anext(quick)
        (watcher,) = (watcher for watcher in feed._watchers if watcher.owner == "ada")
        assert len(watcher.waiting) <= MAX_BEHIND + 1
        told = await heard(slow, len(watcher.waiting))
        assert told[0] is Signal.GAP
        assert told[1:] == [("gen_x", State.QUEUED)] * (len(told) - 1)
        assert not watcher.waiting

    asyncio.run(work())


def test_many_events_at_once_say_that_they_are():
    async def work():
        feed = Feed()
        watched = feed.watch(None)
        await anext(watched)
        for _ in range(CROWD + 1):
            feed.tell(AN_EVENT, owner="ada")
        return [told.crowded async for told in _first(watched, CROWD + 1) if isinstance(told, Told)]

    assert asyncio.run(work()) == [False] * CROWD + [True]


def test_what_could_not_be_made_fails_for_all_who_want_it_and_nobody_else():
    async def work():
        told, makes = Told(AN_EVENT, crowded=False), []

        async def fail(_: Told) -> str:
            makes.append(1)
            await asyncio.sleep(0)
            raise OSError

        leaves = asyncio.create_task(told.once(fail))
        await asyncio.sleep(0)
        leaves.cancel()
        found = await asyncio.gather(told.once(fail), told.once(fail), return_exceptions=True)
        return makes, [type(one) for one in found]

    assert asyncio.run(work()) == ([1], [OSError, OSError])


async def _first(watched: AsyncIterator[Told | Signal], count: int) -> AsyncIterator[Told | Signal]:
    for _ in range(count):
        yield await anext(watched)
