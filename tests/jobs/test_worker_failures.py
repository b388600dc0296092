"""Whatever goes wrong in a worker, its generation comes to an end that says why."""

from __future__ import annotations

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
