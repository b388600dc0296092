"""Money and video that owners may use in a day: reserved when something is accepted, charged when there is a video."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from cinelet.api.errors import LimitReachedError
from cinelet.api.limits import Allowance
from cinelet.domain.errors import GenerationCancelledError, ProcessingError, ValidationError
from cinelet.jobs.batch import SentLine
from cinelet.jobs.generation import Generation
from cinelet.jobs.keys import ApiKey, Role
from cinelet.jobs.states import State
from cinelet.jobs.usage import within_a_day
from cinelet.resilience import Price, PriceTable
from tests.jobs.shop import Shop, a_request

MODEL = "hf:org/model:fal-ai"
PRICES = PriceTable(models={MODEL: Price(per_video=0.5, per_video_second=0.25)})
BUDGET, SECONDS = 5.0, 40


def a_key(**limits: Any) -> ApiKey:
    key = ApiKey(
        "key_1",
        "k",
        "ann",
        Role.GENERATE,
        None,
        None,
        None,
        None,
        None,
        datetime.now(UTC),
        None,
        None,
        webhook_url=None,
    )
    return dataclasses.replace(key, **limits)


KEY = a_key(budget_per_day=BUDGET, currency="USD", video_seconds_per_day=SECONDS)


async def ask(shop: Shop, key: ApiKey = KEY, **values: Any) -> Generation:
    admitted: dict[str, Any] = {"admit": Allowance(key).admit, "budget_currency": key.currency}
    return (await shop.queue.submit(a_request(**values), owner="ann", **admitted)).generation


async def ask_batch(shop: Shop, durations: list[int]) -> str:
    lines = [
        SentLine(number, values={"prompt": "a gull", "duration": duration})
        for number, duration in enumerate(durations, 1)
    ]
    batch_id, _ = await shop.jobs.batches.submit(
        lines, owner="ann", sent_hash=b"", admit=Allowance(KEY).admit, budget_currency="USD"
    )
    return batch_id


async def used(shop: Shop) -> tuple[float, float]:
    async with shop.jobs.database.connection() as connection:
        money = await within_a_day(connection, "ann", "cost", limit=BUDGET)
        seconds = await within_a_day(connection, "ann", "video_seconds", limit=SECONDS)
    return money.amount, seconds.amount


async def claimed(shop: Shop, generation: Generation) -> Generation:
    return await shop.claim(generation.id, worker="w")


async def complete(shop: Shop, generation: Generation, *, cost: float | None, duration: float) -> None:
    result = {"blob": "b", "cost": cost, "currency": "USD", "duration": duration}
    await shop.ledger.complete(generation.id, generation.attempt, model=MODEL, result=result)


def test_the_expected_cost_is_reserved_and_then_the_real_one_is_charged(with_shop):
    async def work(shop: Shop):
        found = []
        first, second, third, fourth = [await ask(shop, duration=2) for _ in range(4)]
        found.append(await used(shop))
        await complete(shop, await claimed(shop, first), cost=0.75, duration=1.5)
        found.append(await used(shop))
        running = await claimed(shop, second)
        await shop.ledger.fail(second.id, running.attempt, error=ProcessingError("no", "denoising").to_dict())
        found.append(await used(shop))
        await shop.ledger.request_cancel(third.id)
        found.append(await used(shop))
        running = await claimed(shop, fourth)
        await shop.ledger.request_cancel(fourth.id)
        await shop.ledger.cancel(fourth.id, running.attempt)
        found.append(await used(shop))
        for generation in (first, second, third, fourth):
            await shop.ledger.delete(generation.id)
        found.append(await used(shop))
        return found

    assert with_shop(work, prices=PRICES) == [(4, 8), (3.75, 7.5), (2.75, 5.5), (1.75, 3.5), (0.75, 1.5), (0.75, 1.5)]


def test_a_cost_that_nobody_knows_in_the_end_is_the_one_that_was_reserved(with_shop):
    async def work(shop: Shop):
        await complete(shop, await claimed(shop, await ask(shop, duration=2)), cost=None, duration=2)
        return await used(shop)

    assert with_shop(work, prices=PRICES) == (1, 2)


def test_what_comes_from_the_cache_costs_nothing_and_is_video_all_the_same(with_shop):
    async def work(shop: Shop):
        async with shop.working():
            made = await shop.ended(await ask(shop, seed=7))
            again = await shop.ended(await ask(shop, seed=7))
        return (
            (made.result or {})["cost"],
            (again.result or {})["cache"],
            (again.result or {})["cost"],
            await used(shop),
        )

    assert with_shop(work, prices=PRICES, cache=True) == (0.75, "hit", 0, (0.75, 2))


def test_a_worker_charges_what_the_video_costs_and_nothing_for_one_that_fails(with_shop):
    async def work(shop: Shop):
        backend: Any = shop.jobs.service.backend
        async with shop.working():
            made = await shop.ended(await ask(shop, duration=2))
            backend.error = ProcessingError("no", "denoising")
            failed = await shop.ended(await ask(shop, duration=2))
        return made.state, (made.result or {})["cost"], failed.state, await used(shop)

    assert with_shop(work, prices=PRICES) == (State.COMPLETED, 1, State.FAILED, (1, 2))


def test_more_than_the_budget_is_refused_in_words_and_leaves_nothing(with_shop):
    async def work(shop: Shop):
        for _ in range(2):
            await ask(shop, duration=8)
        with pytest.raises(LimitReachedError) as refused:
            await ask(shop)
        return str(refused.value), refused.value.retry_after, await used(shop)

    message, retry_after, found = with_shop(work, prices=PRICES)
    assert message.startswith("This key may spend 5.00 USD in 24 hours, and this would make it 5.75 USD")
    assert 86_390 < retry_after <= 86_400
    assert found == (5, 16)


def test_fifty_at_once_never_reserve_more_than_there_is(with_shop):
    async def work(shop: Shop):
        outcomes = await asyncio.gather(*(ask(shop, duration=2) for _ in range(50)), return_exceptions=True)
        accepted = [one for one in outcomes if isinstance(one, Generation)]
        assert all(isinstance(one, Generation | LimitReachedError) for one in outcomes)
        return len(accepted), await used(shop)

    assert with_shop(work, prices=PRICES) == (5, (5, 10))


@pytest.mark.parametrize(
    ("prices", "key", "why"),
    [
        (PriceTable(), KEY, "what hf:org/model:fal-ai costs is in no table of prices; name a model that has a price"),
        (
            PriceTable(models={MODEL: Price(per_compute_second=1)}),
            KEY,
            "depends on how long it takes, and no video of it was made and timed here yet",
        ),
        (
            PriceTable(currency="EUR", models={MODEL: Price(per_video=1)}),
            KEY,
            "The budget of this key is in USD, and the table of prices is in EUR",
        ),
    ],
)
def test_what_no_budget_can_reserve_is_refused_with_what_to_do(with_shop, prices, key, why):
    async def work(shop: Shop):
        with pytest.raises(ValidationError) as refused:
            await ask(shop, key)
        unlimited = await ask(shop, a_key(video_seconds_per_day=5))
        return str(refused.value), refused.value.details, unlimited.state

    message, details, state = with_shop(work, prices=prices)
    assert why in message
    assert list(details) == ["model"]
    assert state is State.QUEUED, "without a budget nobody asks for a price"


def test_a_price_for_time_reserves_the_high_end_of_the_time_that_is_expected(with_shop):
    prices = PriceTable(models={MODEL: Price(per_compute_second=0.1)})

    async def work(shop: Shop):
        known = {"blob": "b", "cache": "made", "resolution": "64x48", "duration": 2.0, "applied": {}}
        for seconds in (8.0, 10.0, 12.0):
            generation = await claimed(shop, await shop.submit(duration=2))
            result = {**known, "timings": {"denoising": seconds}}
            await shop.ledger.complete(generation.id, generation.attempt, model=MODEL, result=result)
        return await shop.queue.costs.of({"task": "text-to-video", "duration": 4.0}, MODEL)

    expected, high = 2 * 10 * 0.1, 4 / 3  # three samples that agree do not say that all will
    assert with_shop(work, prices=prices) == pytest.approx(expected * high)


def test_a_fallback_that_costs_more_is_what_is_reserved(with_shop):
    prices = PriceTable(models={MODEL: Price(per_video=1), "hf:org/dear:fal-ai": Price(per_video=3)})
    fallbacks = {"text-to-video": ["hf:org/unpriced", "hf:org/dear:fal-ai"]}

    async def work(shop: Shop):
        await ask(shop)
        with_fallback = await used(shop)
        await ask(shop, fallback=False)
        return with_fallback[0], (await used(shop))[0]

    assert with_shop(work, prices=prices, fallbacks=fallbacks) == (3, 4)


def test_a_retry_reserves_anew(with_shop):
    async def work(shop: Shop):
        first = await ask(shop, duration=2)
        await shop.ledger.request_cancel(first.id)
        before = await used(shop)
        await shop.queue.retry(await shop.get(first))
        return before, await used(shop)

    assert with_shop(work, prices=PRICES) == ((0, 0), (1, 2))


def test_a_batch_reserves_all_its_lines_and_gives_back_those_that_are_cancelled(with_shop):
    async def work(shop: Shop):
        found = []
        batch_id = await ask_batch(shop, [2, 2, 2])
        found.append(await used(shop))
        await shop.jobs.batches.ledger.make_generations()
        found.append(await used(shop))
        with pytest.raises(LimitReachedError):
            await ask_batch(shop, [2, 2, 2])
        await shop.jobs.batches.ledger.request_cancel(batch_id)
        found.append(await used(shop))
        waiting = await ask_batch(shop, [2, 2, 2])
        await shop.jobs.batches.ledger.request_cancel(waiting)
        found.append(await used(shop))
        return found

    assert with_shop(work, prices=PRICES) == [(3, 6), (3, 6), (0, 0), (0, 0)]


def test_a_line_whose_cost_nobody_knows_stops_no_other(with_shop):
    async def work(shop: Shop):
        lines = [SentLine(1, values={"prompt": "a"}), SentLine(2, values={"prompt": "b", "model": "hf:org/unpriced"})]
        batch_id, _ = await shop.jobs.batches.submit(
            lines, owner="ann", sent_hash=b"", admit=Allowance(KEY).admit, budget_currency="USD"
        )
        first, second = await shop.jobs.batches.ledger.lines(batch_id)
        return first.state, second.state, (second.error or {})["message"]

    first, second, why = with_shop(work, prices=PRICES)
    assert (first, second) == ("queued", "failed")
    assert "what hf:org/unpriced costs is in no table of prices" in why


def test_nothing_of_it_depends_on_a_process(with_shop):
    async def accept(shop: Shop):
        await ask(shop, duration=8)
        await complete(shop, await claimed(shop, await ask(shop, duration=2)), cost=1.0, duration=2)

    async def later(shop: Shop):
        with pytest.raises(LimitReachedError):
            await ask(shop, duration=8)
        return await used(shop)

    with_shop(accept, prices=PRICES)
    assert with_shop(later, prices=PRICES) == (3.5, 10)


class Accounts(RuleBasedStateMachine):
    """What an owner has used, by the ledger and by a book that a test keeps."""

    waiting, running, ended = Bundle("waiting"), Bundle("running"), Bundle("ended")

    shop: Shop
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.do(self.begin_anew())
        self.charges: dict[str, tuple[float, float]] = {}

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    async def begin_anew(self) -> None:
        async with self.shop.jobs.database.connection() as connection:
            await connection.execute("DELETE FROM generations")
            await connection.execute("DELETE FROM deleted_charges")

    def note(self, generation: Generation, duration: int) -> Generation:
        self.charges[generation.id] = (0.5 + 0.25 * duration, duration)
        assert all(used <= most for used, most in zip(self.totals(), (BUDGET, SECONDS), strict=True))
        return generation

    def totals(self) -> tuple[float, float]:
        return sum(cost for cost, _ in self.charges.values()), sum(one for _, one in self.charges.values())

    @rule(target=waiting, duration=st.integers(1, 12))
    def accept(self, duration: int) -> Any:
        try:
            return self.note(self.do(ask(self.shop, duration=duration)), duration)
        except LimitReachedError:
            assert any(
                have + more > most
                for have, more, most in zip(
                    self.totals(), (0.5 + 0.25 * duration, duration), (BUDGET, SECONDS), strict=True
                )
            ), "it would have fitted"
            return multiple()

    @rule(target=waiting, durations=st.lists(st.integers(1, 4), min_size=1, max_size=3))
    def accept_batch(self, durations: list[int]) -> Any:
        try:
            batch_id = self.do(ask_batch(self.shop, durations))
        except LimitReachedError:
            return multiple()
        self.do(self.shop.jobs.batches.ledger.make_generations())
        lines = self.do(self.shop.jobs.batches.ledger.lines(batch_id))
        for line, duration in zip(lines, durations, strict=True):
            self.charges[line.generation_id] = (0.5 + 0.25 * duration, duration)
        assert self.totals()[0] <= BUDGET
        return multiple(*(line.generation for line in lines))

    @rule(target=running, generation=consumes(waiting))
    def claim(self, generation: Generation) -> Any:
        return self.do(claimed(self.shop, generation))

    @rule(target=running, generation=consumes(running))
    def lose_the_worker(self, generation: Generation) -> Any:
        return self.do(self.shop.claim(generation.id, worker="other", lost_attempt=generation.attempt))

    @rule(target=waiting, generation=consumes(running))
    def release(self, generation: Generation) -> Any:
        self.do(self.shop.ledger.release(generation.id, generation.attempt))
        return generation

    @rule(target=ended, generation=consumes(running), share=st.sampled_from([None, 0, 0.5, 1, 1.5]))
    def complete(self, generation: Generation, share: float | None) -> Generation:
        cost, duration = self.charges[generation.id]
        real = None if share is None else round(cost * share, 6)
        self.do(complete(self.shop, generation, cost=real, duration=duration * (share or 1)))
        self.charges[generation.id] = (cost if real is None else real, duration * (share or 1))
        return generation

    @rule(target=ended, generation=consumes(running), cancelled=st.booleans())
    def end_without_a_video(self, generation: Generation, *, cancelled: bool) -> Generation:
        error = GenerationCancelledError("stop").to_dict()
        claim = generation.id, generation.attempt
        self.do(self.shop.ledger.cancel(*claim) if cancelled else self.shop.ledger.fail(*claim, error=error))
        self.charges[generation.id] = (0, 0)
        return generation

    @rule(target=ended, generation=consumes(waiting))
    def cancel(self, generation: Generation) -> Generation:
        self.do(self.shop.ledger.request_cancel(generation.id))
        self.charges[generation.id] = (0, 0)
        return generation

    @rule(generation=consumes(ended))
    def delete(self, generation: Generation) -> None:
        assert self.do(self.shop.ledger.delete(generation.id))

    @invariant()
    def the_ledger_agrees(self) -> None:
        assert self.do(used(self.shop)) == pytest.approx(self.totals(), abs=1e-9)


def test_any_sequence_of_events_keeps_within_the_budget_and_in_balance(with_shop):
    """What is used is always exactly what was reserved and charged, and no accept makes it more than the budget."""
    few = settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))

    async def work(shop: Shop):
        accounts = type("Accounts", (Accounts,), {"shop": shop, "loop": asyncio.get_running_loop()})
        await asyncio.to_thread(run_state_machine_as_test, accounts, settings=few)

    with_shop(work, prices=PRICES)
