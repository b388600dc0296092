"""An order to load a model reaches every worker for local models, and always comes to an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cinelet.domain.errors import CapacityError, ModelUnsupportedError, ValidationError
from cinelet.jobs import loader
from cinelet.jobs.durable import DurableJobs
from cinelet.jobs.errors import NoWorkerError
from cinelet.jobs.orders import Action, Order
from cinelet.testing import FakeBackend
from tests.jobs.loading_backend import BYTES, LoadingBackend
from tests.jobs.shop import SECONDS, Shop


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that was missed is found soon."""
    monkeypatch.setattr(loader, "LOOK_SECONDS", 0.2)


async def worker_known(shop: Shop, count: int = 1) -> None:
    async with asyncio.timeout(SECONDS):
        while len(await shop.jobs.roster.list()) < count:  # noqa: ASYNC110  (another task changes it)
            await asyncio.sleep(0.01)


async def until(jobs: DurableJobs, order_id: str, reached: Callable[[Order], bool]) -> Sequence[Order]:
    async with asyncio.timeout(SECONDS):
        while True:
            rows = await jobs.orders.get(order_id)
            if rows and all(reached(row) for row in rows):
                return rows
            await asyncio.sleep(0.01)


async def done(shop: Shop, action: Action, model: str = "embedded", **options: Any) -> Sequence[Order]:
    (first, *_) = await shop.jobs.orders.give(action, model, **options)
    return await until(shop.jobs, first.id, lambda order: order.has_ended)


def test_a_model_is_loaded_seen_and_unloaded(with_shop: Callable[..., Any]) -> None:
    backend = LoadingBackend()

    async def work(shop: Shop) -> None:
        async with shop.working(local=1) as worker:
            await worker_known(shop)
            (order,) = await done(shop, "load")
            assert (order.worker, order.state, order.error) == (worker.name, "done", None)
            assert order.result is not None
            seconds = order.result["seconds"]
            assert {**order.result, "seconds": None} == {
                "model": "embedded",
                "device": "cpu",
                "revision": None,
                "bytes": BYTES,
                "estimated_bytes": 8_000_000,
                "placement": "float32, no offload",
                "seconds": None,
            }
            assert 0 <= seconds < SECONDS
            # Whoever hears that the order has ended sees the model among what is loaded.
            (known,) = await shop.jobs.roster.list()
            assert [model.model for model in known.report.condition.models] == ["embedded"]
            (order,) = await done(shop, "unload")
            assert order.result == {"unloaded": True}
            (known,) = await shop.jobs.roster.list()
            assert known.report.condition.models == ()
            (order,) = await done(shop, "unload")
            assert order.result == {"unloaded": False}

    with_shop(work, make_backend=lambda: backend)


def test_each_worker_for_local_models_has_a_row_and_the_others_have_none(with_shop: Callable[..., Any]) -> None:
    async def work(shop: Shop) -> None:
        async with shop.working(local=1) as one, shop.working(local=1, remote=0) as two, shop.working(remote=1):
            await worker_known(shop, 3)
            rows = await done(shop, "load")
            assert [row.worker for row in rows] == sorted([one.name, two.name])
            assert {row.state for row in rows} == {"done"}

    with_shop(work, make_backend=LoadingBackend)


def test_how_far_a_load_is_can_be_seen(with_shop: Callable[..., Any]) -> None:
    backend = LoadingBackend()
    backend.may_load.clear()

    async def work(shop: Shop) -> None:
        async with shop.working(local=1):
            await worker_known(shop)
            (order,) = await shop.jobs.orders.give("load", "embedded")
            assert order.state == "waiting"
            (running,) = await until(shop.jobs, order.id, lambda row: row.stage is not None)
            assert (running.state, running.stage, running.step, running.steps) == (
                "running",
                "downloading",
                BYTES,
                BYTES,
            )
            backend.may_load.set()
            await until(shop.jobs, order.id, lambda row: row.state == "done")

    with_shop(work, make_backend=lambda: backend)


def test_orders_are_carried_out_one_after_another_while_generations_go_on(with_shop: Callable[..., Any]) -> None:
    backend = LoadingBackend()
    backend.may_load.clear()

    async def work(shop: Shop) -> None:
        async with shop.working(local=1):
            await worker_known(shop)
            (first,) = await shop.jobs.orders.give("load", "embedded")
            (second,) = await shop.jobs.orders.give("unload", "embedded")
            await until(shop.jobs, first.id, lambda row: row.state == "running")
            made = await shop.ended(await shop.submit(model="embedded"))
            assert made.state == "completed"
            assert [row.state for row in await shop.jobs.orders.get(second.id)] == ["waiting"]
            backend.may_load.set()
            (row,) = await until(shop.jobs, second.id, lambda row: row.has_ended)
            assert row.result == {"unloaded": True}

    with_shop(work, make_backend=lambda: backend)


def test_a_load_that_fails_says_why_and_the_worker_goes_on(with_shop: Callable[..., Any]) -> None:
    errors = {
        "local:org/large": CapacityError("It needs 80 GB, and there are 2"),
        "local:org/odd": RuntimeError("a tensor is odd"),
    }

    async def work(shop: Shop) -> None:
        shop.jobs.orders._queue_of = lambda _: "local"
        async with shop.working(local=1):
            await worker_known(shop)
            (large,) = await done(shop, "load", "local:org/large")
            (odd,) = await done(shop, "load", "local:org/odd")
            (good,) = await done(shop, "load")
        assert (large.state, large.result) == ("failed", None)
        assert large.error is not None
        assert odd.error is not None
        assert large.error["code"] == "no_capacity"
        assert large.error["message"] == "It needs 80 GB, and there are 2"
        assert odd.error["message"] == "The worker failed: RuntimeError; its log says where"
        assert good.state == "done"

    with_shop(work, make_backend=lambda: LoadingBackend(errors))


def test_an_order_whose_time_is_over_fails(with_shop: Callable[..., Any]) -> None:
    backend = LoadingBackend()
    backend.may_load.clear()

    async def work(shop: Shop) -> None:
        async with shop.working(local=1):
            await worker_known(shop)
            (row,) = await done(shop, "load", timeout_seconds=0.3)
            assert row.error is not None
            assert row.error["code"] == "deadline_exceeded"

    with_shop(work, make_backend=lambda: backend)


def test_an_order_that_was_not_announced_is_found(with_shop: Callable[..., Any]) -> None:
    async def work(shop: Shop) -> None:
        async with shop.jobs.database.connection() as connection:
            await connection.execute("DROP TRIGGER model_orders_tell ON model_orders")
        async with shop.working(local=1):
            await worker_known(shop)
            (row,) = await done(shop, "load")
            assert row.state == "done"

    with_shop(work, make_backend=LoadingBackend)


def test_an_order_of_a_worker_that_is_gone_fails_with_that_reason(with_shop: Callable[..., Any]) -> None:
    backend = LoadingBackend()
    backend.may_load.clear()

    async def work(shop: Shop) -> None:
        async with shop.working(local=1):
            await worker_known(shop)
            (order,) = await shop.jobs.orders.give("load", "embedded")
            await until(shop.jobs, order.id, lambda row: row.state == "running")
        (row,) = await shop.jobs.orders.get(order.id)
        assert row.state == "failed"
        assert row.error is not None
        assert row.error["code"] == "worker_lost"

    with_shop(work, make_backend=lambda: backend)


def test_a_worker_that_says_nothing_any_more_counts_as_gone(with_shop: Callable[..., Any]) -> None:
    async def work(shop: Shop) -> None:
        async with shop.working(local=1):
            await worker_known(shop)
            (known,) = await shop.jobs.roster.list()
        await shop.jobs.roster.write("killed:1:x", known.report)
        (order,) = await shop.jobs.orders.give("load", "embedded")
        assert [row.state for row in await shop.jobs.orders.get(order.id)] == ["waiting"]
        async with shop.jobs.database.connection() as connection:
            await connection.execute("UPDATE workers SET seen_at = seen_at - interval '31 seconds'")
        assert [row.state for row in await shop.jobs.orders.get(order.id)] == ["failed"]
        async with shop.jobs.database.connection() as connection:
            await connection.execute("UPDATE model_orders SET ended_at = ended_at - interval '61 minutes'")
        assert await shop.jobs.orders.get(order.id) == [], "an hour later it is forgotten"

    with_shop(work, make_backend=LoadingBackend)


def test_without_a_worker_for_local_models_an_order_is_refused(with_shop: Callable[..., Any]) -> None:
    async def work(shop: Shop) -> None:
        async with shop.working(remote=1):
            await worker_known(shop)
            with pytest.raises(NoWorkerError, match="start one with cinelet serve"):
                await shop.jobs.orders.give("load", "embedded")

    with_shop(work)


def test_a_model_that_runs_elsewhere_and_what_is_no_model_are_refused(with_shop: Callable[..., Any]) -> None:
    async def work(shop: Shop) -> None:
        with pytest.raises(ModelUnsupportedError, match="nothing is loaded for it"):
            await shop.jobs.orders.give("load", "hf:org/name")
        with pytest.raises(ValidationError, match="is not a model reference"):
            await shop.jobs.orders.give("load", "no model")
        assert await shop.jobs.orders.get("ord_\0") == []

    with_shop(work)


def test_a_backend_that_loads_nothing_says_so(with_shop: Callable[..., Any]) -> None:
    async def work(shop: Shop) -> None:
        async with shop.working(local=1):
            await worker_known(shop)
            (row,) = await done(shop, "load")
            assert row.error is not None
            assert row.error["code"] == "model_unsupported"

    with_shop(work, make_backend=FakeBackend)


def test_models_are_loaded_ahead_one_after_another_and_one_that_fails_is_logged_and_skipped(
    with_shop: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    backend = LoadingBackend({"local:org/broken": CapacityError("It needs 80 GB")})

    async def work(shop: Shop) -> None:
        async with shop.working(remote=1):
            await worker_known(shop)
            assert backend.loads == [], "a worker for remote models loads none"
        async with shop.working(local=1), asyncio.timeout(SECONDS):
            await worker_known(shop)
            while True:
                (known,) = await shop.jobs.roster.list()
                if len(known.report.condition.models) == 2:
                    break
                await asyncio.sleep(0.05)

    with_shop(work, make_backend=lambda: backend, preload=("local:org/one", "local:org/broken", "embedded"))
    assert backend.loads == ["local:org/one", "local:org/broken", "embedded"]
    (told,) = [record for record in caplog.records if record.message == "A model was not loaded ahead"]
    assert (vars(told)["model"], vars(told)["reason"]) == ("local:org/broken", "It needs 80 GB")
