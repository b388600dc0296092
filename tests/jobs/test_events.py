"""What happens to a generation is seen in every process, from any position on, until it has ended."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from cinelet.domain.progress import Progress, Stage
from cinelet.jobs.events import Events, forget_old
from cinelet.jobs.states import State
from tests.jobs.shop import SECONDS, Shop


async def _written(shop: Shop, *, steps: int = 3):
    """Make a generation that goes through some steps."""
    made = await shop.submit()
    claimed = await shop.claim(made.id, worker="w")
    for step in range(steps):
        await shop.ledger.progress(made.id, claimed.attempt, Progress(Stage.DENOISING, step / 10, step, 10, note="run"))
    return claimed


async def _all(events: Events, generation_id: str, *, after: int = 0):
    async with asyncio.timeout(10):
        return [event async for event in events.watch(generation_id, after=after)]


def test_a_watcher_that_comes_late_is_told_everything_in_order(with_shop):
    async def work(shop: Shop):
        claimed = await _written(shop)
        await shop.ledger.fail(claimed.id, claimed.attempt, error={"code": "x"})
        return await _all(shop.jobs.events, claimed.id)

    told = with_shop(work)
    assert [event.state for event in told] == ["queued", *["in_progress"] * 4, "failed"]
    assert [event.step for event in told[2:5]] == [0, 1, 2]
    assert told[2].note == "run"
    assert all(earlier.position < later.position for earlier, later in pairwise(told))


def test_a_watcher_goes_on_from_a_position_without_loss_or_repetition(with_shop):
    async def work(shop: Shop):
        claimed = await _written(shop)
        seen, watching = [], asyncio.Event()

        async def watch() -> None:
            async for event in shop.jobs.events.watch(claimed.id):
                seen.append(event)
                if len(seen) == 3:
                    watching.set()
                    return

        await watch()
        await shop.ledger.cancel(claimed.id, claimed.attempt)
        rest = await _all(shop.jobs.events, claimed.id, after=seen[-1].position)
        return [*seen, *rest], await _all(shop.jobs.events, claimed.id)

    in_parts, whole = with_shop(work)
    assert in_parts == whole


def test_each_step_is_heard_by_another_listener(with_shop):
    async def work(shop: Shop):
        claimed = await _written(shop, steps=0)
        async with Events(shop.jobs.database, shop.ledger) as elsewhere:
            heard: asyncio.Queue[int] = asyncio.Queue()
            elsewhere.on_event(lambda event: heard.put_nowait(event.step))
            await elsewhere.start()
            for step in range(20):
                await shop.ledger.progress(claimed.id, claimed.attempt, Progress(Stage.DENOISING, step / 30, step, 30))
            return [await asyncio.wait_for(heard.get(), 10) for _ in range(20)]

    assert with_shop(work) == list(range(20))


def test_a_hundred_watchers_cost_one_listener(with_shop):
    async def work(shop: Shop):
        claimed = await _written(shop)
        query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' AND query LIKE %s"
        watching = [asyncio.create_task(_all(shop.jobs.events, claimed.id)) for _ in range(100)]
        await asyncio.sleep(0.1)
        async with shop.jobs.database.connection() as connection:
            row = await (await connection.execute(query, [f"%{shop.jobs.database.schema}_generations%"])).fetchone()
        await shop.ledger.cancel(claimed.id, claimed.attempt)
        told = await asyncio.gather(*watching)
        assert row is not None
        return row[0], told

    listeners, told = with_shop(work)
    assert listeners <= 1
    assert len({tuple(events) for events in told}) == 1
    assert told[0][-1].state is State.CANCELLED


def test_what_was_missed_while_the_listener_was_cut_off_is_told_afterwards(with_shop):
    async def work(shop: Shop):
        claimed = await _written(shop)
        watching = asyncio.create_task(_all(shop.jobs.events, claimed.id))
        await asyncio.sleep(0.1)
        async with shop.jobs.database.connection() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE %s",
                [f'LISTEN "{shop.jobs.database.schema}_generations%'],
            )
        await shop.ledger.progress(claimed.id, claimed.attempt, Progress(Stage.DECODING, 0.9))
        await shop.ledger.cancel(claimed.id, claimed.attempt)
        return await watching

    assert [event.stage for event in with_shop(work)[-2:]] == ["decoding", "decoding"]


def test_a_generation_whose_events_are_forgotten_still_says_what_it_came_to(with_shop):
    async def work(shop: Shop):
        claimed = await _written(shop)
        await shop.ledger.cancel(claimed.id, claimed.attempt)
        async with shop.jobs.database.connection() as connection:
            await connection.execute("UPDATE generation_events SET at = at - interval '2 days'")
        assert await forget_old(shop.jobs.database) == 6
        return await _all(shop.jobs.events, claimed.id)

    (event,) = with_shop(work)
    assert event.state is State.CANCELLED


@pytest.mark.parametrize("name", ["", "gen_", "../x", "gen_" + "a" * 26])
def test_nobody_waits_for_what_does_not_exist(with_shop, name):
    async def work(shop: Shop):
        return await _all(shop.jobs.events, name)

    assert with_shop(work) == []


def test_a_process_that_is_to_stop_ends_every_watch_with_what_has_happened(with_shop):
    async def work(shop: Shop):
        made = await shop.submit()
        heard: list[list[State]] = [[], []]

        async def watch(number: int) -> None:
            async for event in shop.jobs.events.watch(made.id):
                heard[number].append(event.state)

        watching = asyncio.create_task(watch(0))
        while not heard[0]:  # noqa: ASYNC110  (the watch changes it)
            await asyncio.sleep(0.01)
        await shop.claim(made.id, worker="w")
        shop.jobs.events.end_watches()
        async with asyncio.timeout(SECONDS):
            await watching
            await watch(1)
        return heard

    assert with_shop(work) == [[State.QUEUED, State.IN_PROGRESS]] * 2
