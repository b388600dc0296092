"""Whatever goes wrong in a worker, its generation comes to an end that says why."""

from __future__ import annotations

import asyncio
from typing import Any

from cinelet.domain.errors import CapacityError
from cinelet.jobs.states import State
from tests.jobs.shop import Shop


def test_a_store_without_room_fails_the_generation_and_says_why(with_shop, monkeypatch):
    from cinelet.storage.folder import FolderStore

    async def no_room(*_: Any, **__: Any) -> None:
        raise CapacityError("There is no room in the store; make some")

    monkeypatch.setattr(FolderStore, "put_file", no_room)

    async def work(shop: Shop):
        async with shop.working():
            return await shop.ended(await shop.submit())

    done = with_shop(work)
    assert (done.state, done.error["code"]) == (State.FAILED, "no_capacity")


def test_an_error_that_nobody_foresaw_ends_the_generation(with_shop, monkeypatch):
    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cinelet.jobs.worker.restored_request", broken)

    async def work(shop: Shop):
        async with shop.working():
            return await shop.ended(await shop.submit())

    done = with_shop(work)
    assert (done.state, "ZeroDivisionError" in done.error["message"]) == (State.FAILED, True)


def test_a_job_whose_hand_out_nobody_heard_of_is_handed_out_again(with_shop):
    async def work(shop: Shop):
        made = await shop.submit()
        async with shop.jobs.database.connection() as connection:
            # What a fetch leaves whose connection broke: the job runs, on a worker that lives, and no claim.
            fetched = await connection.execute(
                "SELECT id FROM take_jobs('{remote}', (SELECT * FROM procrastinate_register_worker_v1()), 1)"
            )
            assert await fetched.fetchone() is not None
            look = "SELECT requeue_lost(20, true)"
            assert await (await connection.execute(look)).fetchone() == (0,), "it may just be on its way"
            await connection.execute("UPDATE procrastinate_jobs SET fetched_at = fetched_at - interval '21 s'")
            assert await (await connection.execute(look)).fetchone() == (1,)
        async with shop.working():
            return await shop.ended(made)

    done = with_shop(work)
    assert (done.state, done.attempt, done.crashes) == (State.COMPLETED, 1, 0)


def test_the_look_at_lost_work_reads_each_job_once_even_where_nothing_is_known_of_the_tables(with_shop):
    """It compared each generation with each job."""
    waiting = 200

    async def work(shop: Shop):
        for number in range(waiting):
            await shop.ledger.insert({"prompt": str(number)}, owner="ada", requested_model="embedded")
        async with shop.jobs.database.connection() as connection, connection.transaction():
            await connection.execute("SELECT requeue_lost(20, true)")
            read = await connection.execute(
                "SELECT sum(pg_stat_get_xact_tuples_returned(it)) FROM (SELECT 'procrastinate_jobs'::regclass"
                " UNION SELECT indexrelid FROM pg_index WHERE indrelid = 'procrastinate_jobs'::regclass) all_of (it)"
            )
            return await read.fetchone()

    (read,) = with_shop(work)
    assert waiting <= read <= 5 * waiting


def test_those_who_use_the_same_file_do_not_wait_for_each_other(with_shop):
    async def work(shop: Shop):
        first, second = [await shop.submit(seed=seed) for seed in (1, 2)]
        for made in (first, second):
            await shop.claim(made.id, worker="w")
        async with shop.jobs.database.connection() as connection, connection.transaction():
            await connection.execute("UPDATE generations SET video_key = 'k' WHERE id = %s", [first.id])
            async with asyncio.timeout(10):
                await shop.ledger.complete(second.id, 1, model="m", result={"blob": "k"})
        return await shop.get(second)

    assert with_shop(work).state is State.COMPLETED
