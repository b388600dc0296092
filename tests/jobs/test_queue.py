"""What is accepted, what is refused, and what of it stays in the store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cinelet.domain.errors import CapacityError
from cinelet.domain.request import Task
from cinelet.jobs.database import CONNECT_SECONDS, CONNECTIONS
from cinelet.testing import example_image
from tests.jobs.shop import Shop


def test_a_request_that_is_refused_leaves_no_image(with_shop, tmp_path):
    async def full(_connection: Any, _asked: Any) -> None:
        raise CapacityError("enough for today")

    async def work(shop: Shop):
        with pytest.raises(CapacityError):
            await shop.submit(task=Task.IMAGE_TO_VIDEO, image=example_image(), options={"admit": full})
        return (await shop.ledger.list()).generations

    assert with_shop(work) == ()
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_an_image_is_kept_until_nothing_uses_it(with_shop, tmp_path):
    async def work(shop: Shop):
        one, two = [await shop.submit(task=Task.IMAGE_TO_VIDEO, image=example_image()) for _ in range(2)]
        image = tmp_path / "store" / one.request["image_key"]
        for made, left in ((one, True), (two, False)):
            await shop.ledger.request_cancel(made.id)
            await shop.queue.delete(await shop.get(made))
            assert image.exists() is left

    with_shop(work)


def test_more_may_be_deleted_at_once_than_there_are_connections(with_shop, tmp_path):
    async def work(shop: Shop):
        async with shop.working():
            made = [await shop.ended(await shop.submit(seed=number)) for number in range(3 * CONNECTIONS)]
        async with asyncio.timeout(CONNECT_SECONDS / 2):
            await asyncio.gather(*map(shop.queue.delete, made))
        return len(made)

    assert with_shop(work) == 3 * CONNECTIONS
    assert list((tmp_path / "store").rglob("*.mp4")) == []
