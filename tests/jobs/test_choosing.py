"""Durable work whose model is chosen: refused or queued when it is accepted, chosen again when it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cinelet.clock import FakeClock, SystemClock
from cinelet.domain.errors import NoModelFitsError, ValidationError
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task
from cinelet.domain.selection import Selects
from cinelet.jobs.performances import SharedKnowledge
from cinelet.jobs.states import State
from cinelet.resilience import FallbackBackend, Price, PriceTable
from cinelet.resilience.performance import Memory
from cinelet.testing import FakeBackend
from tests.jobs.shop import PaidBackend, Shop, a_request
from tests.jobs.test_outcomes import BROKE, MODEL, OTHER, WORKED, end, itself
from tests.resilience.doubles import selector

HERE = "embedded"


def choosing(backend: FakeBackend, models: Sequence[str] = (MODEL, OTHER, HERE), **parts):
    """Return the chain as the service has it, that is never curious."""
    given = {"auto_models": dict.fromkeys(Task, models), "clock": SystemClock(), **parts}
    chooser = selector(backend, **given)
    return FallbackBackend(backend, expand=itself, fallbacks={}, clock=SystemClock(), selector=chooser)


def forget_what_was_read(shop: Shop) -> None:
    """It is kept for a second."""
    backend = shop.jobs.service.backend
    assert isinstance(backend, Selects)
    backend.learn_from(SharedKnowledge(shop.jobs.database))


def test_a_generation_for_auto_is_made_by_the_model_that_all_have_seen_to_be_best(with_shop):
    backend = FakeBackend()

    async def work(shop: Shop):
        for outcome in (BROKE, BROKE, WORKED, replace(WORKED, model=HERE, seconds=100.0)):
            await end(shop.ledger, outcome)
        async with shop.working(local=1):
            return await shop.ended(await shop.submit(model="auto", prefer="balanced"))

    done = with_shop(work, make_backend=lambda: choosing(backend))
    assert (done.state, done.requested_model, done.model) == (State.COMPLETED, "auto", MODEL)
    (attempt,) = done.attempts
    assert attempt["why"].startswith("balanced: ")
    assert "1 outcome" in attempt["why"]
    (change,) = [change for change in done.result["adjustments"] if change["parameter"] == "model"]
    assert (change["requested"], change["applied"]) == ("auto", MODEL)


def test_what_is_accepted_waits_in_the_queue_of_the_model_that_would_be_chosen(with_shop):
    async def work(shop: Shop):
        first = await shop.submit(model="auto", prefer="fastest")
        await end(shop.ledger, replace(WORKED, model=HERE, seconds=0.1))
        await end(shop.ledger, WORKED)
        forget_what_was_read(shop)
        return first.queue, (await shop.submit("another", model="auto", prefer="fastest")).queue

    assert with_shop(work, make_backend=lambda: choosing(FakeBackend())) == ("remote", "local")


def test_nothing_is_kept_of_a_request_that_no_model_fits(with_shop):
    async def work(shop: Shop):
        with pytest.raises(NoModelFitsError) as caught:
            await shop.submit(model="auto", max_cost=0.1)
        return caught.value.models, (await shop.ledger.list()).generations

    models, kept = with_shop(work, make_backend=lambda: choosing(FakeBackend()))
    assert set(models) == {MODEL, OTHER, HERE}
    assert kept == ()


def test_a_job_that_a_provider_has_is_gone_on_with_by_the_next_worker_whatever_is_best_by_then(with_shop):
    backend = PaidBackend()

    async def work(shop: Shop):
        made = await shop.submit(model="auto", prefer="most_reliable")
        async with shop.working(grace_seconds=0.1):
            await shop.until(made, lambda found: found.handle is not None and "id" in found.handle)
        for _ in range(5):
            await end(shop.ledger, replace(WORKED, model=OTHER), replace(BROKE, model=MODEL))
        forget_what_was_read(shop)
        backend.may_end.set()
        async with shop.working():
            return await shop.ended(made)

    done = with_shop(work, make_backend=lambda: choosing(backend))
    assert (done.state, done.model) == (State.COMPLETED, MODEL)
    assert (backend.submitted, backend.resumed) == (1, 1)
    assert done.attempts[-1]["why"] == "goes on with the job that was begun there"


def test_identical_requests_for_auto_with_a_seed_are_made_once(with_shop):
    backend = FakeBackend()

    async def work(shop: Shop):
        async with shop.working():
            return [await shop.ended(await shop.submit(model="auto", seed=4)) for _ in range(2)]

    first, second = with_shop(work, make_backend=lambda: choosing(backend), cache=True)
    assert len(backend.requests) == 1
    assert (first.result["cache"], second.result["cache"]) == ("made", "hit")
    assert second.model == first.model == MODEL


def test_what_was_learned_is_read_once_a_second_and_as_old_as_the_database_says(with_ledger):
    async def work(ledger, database):
        clock = FakeClock()
        knowledge = SharedKnowledge(database, clock=clock)
        await end(ledger, WORKED)
        async with database.connection() as connection:
            await connection.execute("UPDATE performance SET updated_at = updated_at - interval '1 hour'")
        first = await knowledge.known([MODEL], "text-to-video")
        await end(ledger, BROKE)
        within = await knowledge.known([MODEL, OTHER], "text-to-video"), await knowledge.known([MODEL], "text-to-video")
        clock.advance(1.5)
        await database.aclose()
        return clock, first, within, await knowledge.known([MODEL], "text-to-video")

    clock, first, within, away = with_ledger(work)
    assert first[MODEL].samples == 1
    assert clock.monotonic() - 1.5 - first[MODEL].at == pytest.approx(3600, abs=60)
    assert set(within[0]) == {MODEL, OTHER}
    assert within[1] is first
    assert away == first  # nothing is lost while the database is away
    assert Memory(half_life_seconds=3600).kept(3600) == pytest.approx(0.5)


def test_a_batch_keeps_lines_that_no_model_fits_with_the_reason(with_shop):
    from cinelet.jobs.batch import SentLine

    async def work(shop: Shop):
        lines = [
            SentLine(1, values={"prompt": "a gull", "model": "auto"}),
            SentLine(2, values={"prompt": "a gull", "model": "auto", "max_cost": 0.1}),
        ]
        batch, _ = await shop.jobs.batches.submit(lines, owner="me", sent_hash=b"1")
        return [line async for line in _lines(shop, batch)]

    first, second = with_shop(work, make_backend=lambda: choosing(FakeBackend()))
    assert first.error is None
    assert second.error["code"] == "no_model_fits"


async def _lines(shop: Shop, batch: str):
    found = await shop.jobs.batches.ledger.get(batch, owner="me")
    assert found is not None
    for line in await shop.jobs.batches.ledger.lines(found.id, after=0, limit=10):
        yield line


def test_a_reference_that_stands_for_others_is_never_one_of_them():
    assert str(ModelReference.parse("auto")) == "auto"


def test_with_a_budget_what_auto_may_choose_must_have_a_price(with_shop):
    prices = PriceTable(models={MODEL: Price(per_video=1), OTHER: Price(per_video=3)})

    async def work(shop: Shop):
        with pytest.raises(ValidationError, match="give max_cost, which leaves them out"):
            await shop.queue.submit(a_request(model="auto"), owner="ann", budget_currency="USD")
        request = a_request(model="auto", max_cost=5)
        await shop.queue.submit(request, owner="ann", budget_currency="USD")
        return await shop.queue.costs.of(request.model_dump(mode="json"), "auto", [MODEL, OTHER])

    backend = choosing(FakeBackend(), cost=prices.cost)
    assert with_shop(work, make_backend=lambda: backend, prices=prices) == 3
