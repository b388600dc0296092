"""A worker whose device is lost ends, and leaves its generation to the next one as a crash would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cinelet.domain.errors import DeviceLostError
from cinelet.jobs.worker import MAX_CRASHES
from cinelet.testing import FakeBackend
from tests.jobs.loading_backend import LoadingBackend
from tests.jobs.shop import SECONDS, Shop
from tests.jobs.test_orders import worker_known

LOST = DeviceLostError("AcceleratorError: unspecified launch failure")


def test_its_generation_is_made_by_the_next_worker(with_shop: Callable[..., Any]) -> None:
    backend = FakeBackend(error=LOST, error_at_step=1)

    async def work(shop: Shop) -> None:
        submitted = await shop.submit(model="embedded")
        later = await shop.submit("a later gull", model="embedded")
        with pytest.raises(DeviceLostError, match="unspecified launch failure"):
            await asyncio.wait_for(shop.worker(local=1).run(), SECONDS)
        left = await shop.get(submitted)
        assert (left.state, left.crashes, left.error) == ("in_progress", 0, None)
        assert len(backend.requests) == 1, "it takes nothing more"
        backend.error = None
        async with shop.working(local=1):
            made = await shop.ended(submitted)
            assert (made.state, made.crashes, made.attempt) == ("completed", 1, 2)
            made = await shop.ended(later)
            assert (made.state, made.crashes) == ("completed", 0)
        assert await shop.engine_jobs() == 0

    with_shop(work, make_backend=lambda: backend)


def test_a_worker_that_still_has_other_work_to_end_does_not_give_it_back(
    with_shop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given back, it would count as no crash, and take one device after another."""
    monkeypatch.setattr("cinelet.jobs.worker.SWEEP_SECONDS", 0.02)

    async def work(shop: Shop, lost: DeviceLostError | None) -> str:
        worker = shop.worker(local=1)
        left = await shop.claim((await shop.submit(model="embedded")).id, worker=worker.name)
        worker._lost = lost
        sweeping = asyncio.create_task(worker._sweep())
        await asyncio.sleep(0.5)
        sweeping.cancel()
        return (await shop.get(left)).state

    assert with_shop(lambda shop: work(shop, LOST)) == "in_progress"
    assert with_shop(lambda shop: work(shop, None)) == "queued"


def test_a_generation_that_loses_the_device_again_and_again_fails(with_shop: Callable[..., Any]) -> None:
    backend = FakeBackend(error=LOST)

    async def work(shop: Shop) -> None:
        submitted = await shop.submit(model="embedded")
        for _ in range(MAX_CRASHES):
            with pytest.raises(DeviceLostError):
                await asyncio.wait_for(shop.worker(local=1).run(), SECONDS)
        async with shop.working(local=1):
            ended = await shop.ended(submitted)
        assert ended.state == "failed"
        assert ended.error is not None
        assert "3 workers were lost" in ended.error["message"]
        assert len(backend.requests) == MAX_CRASHES

    with_shop(work, make_backend=lambda: backend)


def test_it_ends_too_where_the_device_is_lost_while_a_model_is_loaded(with_shop: Callable[..., Any]) -> None:
    async def work(shop: Shop) -> None:
        working = asyncio.create_task(shop.worker(local=1).run())
        await worker_known(shop)
        (order,) = await shop.jobs.orders.give("load", "embedded")
        with pytest.raises(DeviceLostError):
            await asyncio.wait_for(working, SECONDS)
        (row,) = await shop.jobs.orders.get(order.id)
        assert row.error is not None
        assert row.error["code"] == "device_lost"

    with_shop(work, make_backend=lambda: LoadingBackend({"embedded": LOST}))
