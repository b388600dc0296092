"""Workers are killed, frozen, stopped and cut off; nothing is lost, and nothing is paid for twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from cinelet.jobs.errors import ClaimLostError
from cinelet.jobs.generation import Generation
from cinelet.jobs.states import State
from tests.fake_providers import T2V_MODEL, FakeInternet
from tests.jobs.shop import Shop
from tests.journeys.farm import Farm

MODEL = f"hf:{T2V_MODEL}:fal-ai"
KILLS = 42
FIRST_SECONDS = 3
"""What a new worker takes for its first generation, where nothing else runs."""


async def _all_ended(shop: Shop, made: list[Generation], *, seconds: float = 60) -> list[Generation]:
    async with asyncio.timeout(seconds):
        while True:
            found = list((await shop.ledger.get_all([one.id for one in made])).values())
            if all(one.state.final for one in found):
                return found
            await asyncio.sleep(0.05)


def test_no_kill_loses_a_generation_or_pays_for_one_twice(with_farm, internet: FakeInternet):
    internet.jobs_take(queued_polls=0, running_polls=1, seconds=0.3)
    chance = random.Random(4)

    async def work(shop: Shop, farm: Farm):
        began = time.monotonic()
        first = farm.start()
        await _all_ended(shop, [await shop.submit("the first gull", model=MODEL)])
        # A worker lives as many times longer as it works more slowly here: else most kills would hit a submission.
        pace = max(1, (time.monotonic() - began) / FIRST_SECONDS)
        farm.kill(first)
        made = [await shop.submit(f"gull {number}", model=MODEL) for number in range(4)]
        while farm.kills < KILLS:
            pids = [farm.start(), farm.start()]
            made.append(await shop.submit(f"gull {len(made)}", model=MODEL))
            for pid in pids:
                await asyncio.sleep(pace * chance.uniform(0.1, 0.8))
                farm.kill(pid)
        farm.start()
        return await _all_ended(shop, made)

    ended = with_farm(work, port=internet.wire.port)
    paid = Counter(job.prompt for job in internet.jobs)
    assert max(paid.values()) == 1, "paid twice"
    for one in ended:
        if one.state is State.FAILED:
            doubtful = one.error["code"] == "submission_unknown"
            assert doubtful or "workers were lost" in one.error["message"], one.error
        else:
            assert one.state is State.COMPLETED
            assert paid[one.request["prompt"]] == 1
    completed = sum(one.state is State.COMPLETED for one in ended)
    assert completed >= len(ended) / 3, "most kills hit a wait, after which a generation goes on"
    assert any(one.state is State.COMPLETED and one.crashes for one in ended), "a generation goes on after a kill"


def test_a_generation_that_kills_its_worker_is_given_up_and_all_others_are_made(with_farm):
    async def work(shop: Shop, farm: Farm):
        made = [await shop.submit("deadly"), *[await shop.submit(f"gull {n}") for n in range(5)]]
        for _ in range(6):
            farm.start()
        return await _all_ended(shop, made)

    ended = with_farm(work, backend="deadly", queues={"remote": 1})
    states = {one.request["prompt"]: one for one in ended}
    deadly = states.pop("deadly")
    assert (deadly.state, deadly.crashes) == (State.FAILED, 3)
    assert "3 workers were lost" in deadly.error["message"]
    assert {one.state for one in states.values()} == {State.COMPLETED}


def test_a_frozen_worker_that_goes_on_writes_nothing(with_farm):
    async def work(shop: Shop, farm: Farm):
        first = farm.start()
        made = await shop.submit()
        held = await shop.until(made, lambda found: found.step > 1)
        farm.freeze(first)
        farm.start()
        taken = await shop.until(made, lambda found: found.attempt > held.attempt)
        farm.thaw(first)
        done = await shop.ended(made)
        with pytest.raises(ClaimLostError):
            await shop.ledger.save_handle(made.id, held.attempt, {"model": "m"})
        events = [event async for event in shop.jobs.events.watch(made.id)]
        return held, taken, done, events

    held, taken, done, events = with_farm(work, backend="slow", steps=40, step_seconds=0.1)
    assert (held.attempt, taken.attempt) == (1, 2)
    assert (done.state, done.attempt, done.crashes) == (State.COMPLETED, 2, 1)
    after = [event for event in events if event.attempt == 2]
    assert [event.state for event in events if event.state.final] == [State.COMPLETED]
    assert events[-len(after) :] == after, "the first attempt wrote after the second had begun"


def test_workers_that_race_for_jobs_do_each_once(with_farm, internet: FakeInternet):
    internet.jobs_take(queued_polls=0, running_polls=0)

    async def work(shop: Shop, farm: Farm):
        for _ in range(3):
            farm.start()
        return await _all_ended(shop, [await shop.submit(f"gull {n}", model=MODEL) for n in range(40)])

    ended = with_farm(work, port=internet.wire.port)
    assert {(one.state, one.attempt) for one in ended} == {(State.COMPLETED, 1)}
    assert internet.posts == internet.paid() == 40


def test_a_worker_that_is_told_to_stop_hands_over_in_time(with_farm, internet: FakeInternet):
    internet.jobs_take(queued_polls=0, running_polls=0, seconds=4)

    async def work(shop: Shop, farm: Farm):
        first = farm.start()
        made = [await shop.submit(f"gull {n}", model=MODEL) for n in range(16)]
        for one in made:
            await shop.until(one, lambda found: (found.handle or {}).get("id") is not None)
        seconds = await asyncio.to_thread(farm.terminate, first)
        between = Counter(one.state for one in (await shop.ledger.get_all([one.id for one in made])).values())
        farm.start()
        return seconds, between, await _all_ended(shop, made)

    seconds, between, ended = with_farm(work, port=internet.wire.port, queues={"remote": 16})
    assert seconds < 30
    assert between == {State.QUEUED: 16}
    assert {(one.state, one.crashes) for one in ended} == {(State.COMPLETED, 0)}
    assert (internet.paid(), internet.cancelled) == (16, 0)


def test_a_database_that_restarts_under_load_costs_time_only(
    with_farm, internet: FakeInternet, copy_data, processes_of, tmp_path: Path
):
    internet.jobs_take(queued_polls=0, running_polls=0, seconds=1)
    directory = copy_data(tmp_path / "data")

    async def work(shop: Shop, farm: Farm):
        farm.start()
        made = [await shop.submit(f"gull {n}", model=MODEL) for n in range(12)]
        await shop.until(made[0], lambda found: found.state is not State.QUEUED)
        for _ in range(2):
            folder = directory / "database" / "postgres"
            postmaster = int((folder / "postmaster.pid").read_text().splitlines()[0])
            os.kill(postmaster, signal.SIGINT)  # a fast shutdown: every connection is cut
            await asyncio.sleep(1)
        return await _ended_in_spite(shop, made)

    ended = with_farm(work, port=internet.wire.port, directory=directory)
    assert {one.state for one in ended} == {State.COMPLETED}
    assert {one.crashes for one in ended} == {0}
    assert internet.paid() == 12
    assert processes_of(directory / "database" / "postgres") == []


async def _ended_in_spite(shop: Shop, made: list[Generation]) -> list[Generation]:
    """Wait through the time in which the database does not answer us either."""
    from cinelet.jobs.errors import DatabaseError

    end = time.monotonic() + 60
    while True:
        try:
            return await _all_ended(shop, made)
        except DatabaseError:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)


def test_a_worker_that_was_killed_is_listed_until_it_has_been_silent_for_thirty_seconds(with_farm):
    async def work(shop: Shop, farm: Farm):
        async with asyncio.timeout(30):
            pid = farm.start()
            while [worker.report.pid for worker in await shop.jobs.roster.list()] != [pid]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            farm.kill(pid)
            assert len(await shop.jobs.roster.list()) == 1, "nobody can know yet"
            async with shop.jobs.database.connection() as connection:
                await connection.execute("UPDATE workers SET seen_at = seen_at - interval '30 seconds'")
            assert list(await shop.jobs.roster.list()) == []

    with_farm(work, backend="fake", steps=1, step_seconds=0)
