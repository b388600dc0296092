"""Each generation counts once when it begins and once when it ends, however it ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cinelet.domain.errors import HuggingFaceAPIError
from cinelet.testing import FakeBackend
from tests.jobs.shop import PaidBackend, Shop
from tests.observability.counted import counting

FAILS = HuggingFaceAPIError("fal-ai refused it", status=500, provider="fal-ai")


def ends(counted) -> dict[str, float]:
    return {
        state: counted.of("cinelet_generations_ended_total", queue="remote", state=state)
        for state in ("completed", "failed", "cancelled")
    }


@pytest.mark.parametrize(
    ("error", "expected"),
    [(None, {"completed": 1, "failed": 0, "cancelled": 0}), (FAILS, {"completed": 0, "failed": 1, "cancelled": 0})],
    ids=["completed", "failed"],
)
def test_an_end_is_counted_once_and_a_failure_with_its_code(with_shop, error, expected):
    async def work(shop: Shop):
        async with shop.working():
            await shop.ended(await shop.submit())

    with counting() as counted:
        with_shop(work, make_backend=lambda: FakeBackend(error=error))
    assert ends(counted) == expected
    assert counted.of("cinelet_generation_errors_total", code="model_host_failed") == expected["failed"]
    assert counted.of("cinelet_queue_wait_seconds_count", queue="remote") == 1
    assert counted.of("cinelet_stage_seconds_count", stage="storing") == expected["completed"]


@pytest.mark.parametrize("runs", [True, False], ids=["while it runs", "while it waits"])
def test_a_cancel_is_counted_once(with_shop, runs):
    async def work(shop: Shop):
        if not runs:
            await shop.ledger.request_cancel((await shop.submit()).id)
            return
        async with shop.working():
            made = await shop.submit()
            await shop.until(made, lambda found: (found.handle or {}).get("id") is not None)
            await shop.ledger.request_cancel(made.id)
            await shop.ended(made)
            await shop.ledger.request_cancel(made.id)

    with counting() as counted:
        with_shop(work, make_backend=PaidBackend)
    assert ends(counted) == {"completed": 0, "failed": 0, "cancelled": 1}


def test_a_delayed_generation_waits_from_when_it_is_due(with_shop):
    async def work(shop: Shop):
        made = await shop.submit(options={"not_before": datetime.now(UTC) - timedelta(seconds=1)})
        async with shop.jobs.database.connection() as connection:
            await connection.execute("UPDATE generations SET created_at = created_at - interval '1 hour'")
        async with shop.working():
            await shop.ended(made)

    with counting() as counted:
        with_shop(work)
    assert counted.of("cinelet_queue_wait_seconds_count", queue="remote") == 1
    assert 1 < counted.of("cinelet_queue_wait_seconds_sum", queue="remote") < 60


def test_what_a_second_worker_goes_on_with_has_not_waited_anew(with_shop):
    backend = PaidBackend()

    async def work(shop: Shop):
        made = await shop.submit()
        async with shop.working():
            await shop.until(made, lambda found: (found.handle or {}).get("id") is not None)
        backend.may_end.set()
        async with shop.working():
            return await shop.ended(made)

    with counting() as counted:
        assert with_shop(work, make_backend=lambda: backend).attempt == 2
    assert counted.of("cinelet_queue_wait_seconds_count", queue="remote") == 1
    assert ends(counted) == {"completed": 1, "failed": 0, "cancelled": 0}
