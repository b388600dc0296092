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
