"""Queued generations that are alike are worked on together, and none is lost for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.request import VideoRequest
from cinelet.jobs.companions import alike, claim_companions
from cinelet.jobs.states import State
from cinelet.testing import FakeBackend
from tests.jobs.shop import Shop

MODEL = "embedded"


class Gathering(FakeBackend):
    """Notes how many work at once; nobody ends before `expected` of them are there."""

    def __init__(self, expected: int) -> None:
        super().__init__()
        self.expected = expected
        self.now = self.most = 0
        self.all_there = asyncio.Event()

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        self.now += 1
        self.most = max(self.most, self.now)
        if self.now >= self.expected:
            self.all_there.set()
        try:
            while not self.all_there.is_set():
                await self.clock.pause_async(0.02, context=context)
            return await super().generate(request, context)
        finally:
            self.now -= 1


def together(shop: Shop, count: int) -> None:
    object.__setattr__(shop.jobs._settings, "together", count)


async def queued(shop: Shop, count: int, **values: Any) -> list[Any]:
    return [await shop.submit(f"gull {number}", model=MODEL, seed=number, **values) for number in range(count)]


def test_those_that_are_alike_are_worked_on_at_once_up_to_the_limit(with_shop):
    backend = Gathering(3)

    async def work(shop: Shop):
        together(shop, 3)
        made = await queued(shop, 5)
        async with shop.working(local=1):
            ended = [await shop.ended(one) for one in made]
        assert await shop.engine_jobs() == 0
        return ended

    ended = with_shop(work, make_backend=lambda: backend)
    assert {one.state for one in ended} == {State.COMPLETED}
    assert {one.attempt for one in ended} == {1}
    assert backend.most == 3


def test_without_a_limit_above_one_they_are_worked_on_one_by_one(with_shop):
    backend = Gathering(1)

    async def work(shop: Shop):
        made = await queued(shop, 3)
        async with shop.working(local=1):
            return [await shop.ended(one) for one in made]

    with_shop(work, make_backend=lambda: backend)
    assert backend.most == 1


@pytest.mark.parametrize(
    "other",
    [{"duration": 2}, {"fps": 6}, {"num_inference_steps": 7}, {"negative_prompt": "fog"}, {"quality": "exact"}],
)
def test_what_differs_in_more_than_words_and_seed_is_left_in_the_queue(with_shop, other):
    async def work(shop: Shop):
        first, second = await shop.submit(model=MODEL), await shop.submit(model=MODEL, **other)
        claimed = await shop.claim(first.id, worker="w")
        assert await claim_companions(shop.jobs.database, claimed, worker="w", most=3) == []
        return await shop.get(second)

    assert with_shop(work).state is State.QUEUED


def test_pictures_are_made_alone() -> None:
    assert alike({"prompt": "a", "image_key": "x"}) is None
    assert alike({"prompt": "a", "seed": 1}) == alike({"prompt": "b", "seed": 2})
    assert alike({"prompt": "a", "quality": "exact"}) is None


def test_the_first_of_the_queue_come_along_and_those_that_killed_a_worker_do_not(with_shop):
    async def work(shop: Shop):
        low = await shop.submit("low", model=MODEL)
        first = await shop.submit("first", model=MODEL, options={"priority": 9})
        high = await shop.submit("high", model=MODEL, options={"priority": 5})
        lost = await shop.submit("lost", model=MODEL, options={"priority": 7})
        async with shop.jobs.database.connection() as connection:
            await connection.execute("UPDATE generations SET crashes = 1 WHERE id = %s", [lost.id])
        claimed = await shop.claim(first.id, worker="w")
        found = await claim_companions(shop.jobs.database, claimed, worker="w", most=1)
        assert [one.id for one in found] == [high.id]
        assert (found[0].state, found[0].attempt, found[0].worker) == (State.IN_PROGRESS, 1, "w")
        more = await claim_companions(shop.jobs.database, claimed, worker="w", most=9)
        assert [one.id for one in more] == [low.id]
        crashed = await shop.claim(lost.id, worker="w")
        return await claim_companions(shop.jobs.database, crashed, worker="w", most=9)

    assert with_shop(work) == []


def test_what_a_lost_worker_had_taken_along_is_done_by_another(with_shop):
    async def work(shop: Shop):
        made = await queued(shop, 3)
        async with shop.jobs.database.connection() as connection:
            # A worker that was given the first one's job, took the others along, and is heard of no more.
            await connection.execute(
                "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 hour')"
            )
            await connection.execute(
                "UPDATE procrastinate_jobs SET status = 'doing',"
                " worker_id = (SELECT max(id) FROM procrastinate_workers) WHERE args ->> 'generation_id' = %s",
                [made[0].id],
            )
        claimed = await shop.claim(made[0].id, worker="gone")
        assert len(await claim_companions(shop.jobs.database, claimed, worker="gone", most=3)) == 2
        async with shop.working(local=1):
            return [await shop.ended(one) for one in made]

    ended = with_shop(work)
    assert {one.state for one in ended} == {State.COMPLETED}
    assert {(one.attempt, one.crashes) for one in ended} == {(2, 1)}


def test_a_stop_hands_all_of_them_over(with_shop):
    backend = Gathering(99)

    async def work(shop: Shop):
        together(shop, 3)
        made = await queued(shop, 3)
        async with shop.working(local=1, grace_seconds=0.1):
            for one in made:
                await shop.until(one, lambda found: found.state is State.IN_PROGRESS)
        return [await shop.get(one) for one in made], await shop.engine_jobs()

    left, jobs = with_shop(work, make_backend=lambda: backend)
    assert {one.state for one in left} == {State.QUEUED}
    assert jobs == 3


def test_one_that_is_cancelled_leaves_the_others_alone(with_shop):
    backend = Gathering(3)

    async def work(shop: Shop):
        together(shop, 3)
        backend.expected = 99
        made = await queued(shop, 3)
        async with shop.working(local=1):
            for one in made:
                await shop.until(one, lambda found: found.state is State.IN_PROGRESS)
            await shop.ledger.request_cancel(made[1].id)
            backend.all_there.set()
            return [(await shop.ended(one)).state for one in made]

    assert with_shop(work, make_backend=lambda: backend) == [State.COMPLETED, State.CANCELLED, State.COMPLETED]
