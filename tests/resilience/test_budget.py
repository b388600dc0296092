from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinelet.clock import FakeClock
from cinelet.domain.errors import HuggingFaceAPIError
from cinelet.resilience import RetryBackend, RetryBudgets, host_of
from cinelet.resilience.budget import MAX_KEYS
from tests.resilience.doubles import UNAVAILABLE, Outcome, ScriptedBackend, context, request

UNREACHABLE = HuggingFaceAPIError("No connection")


def attempts_of(requests: int, outcome: Outcome, folder: Path, *, model: str, budgets: RetryBudgets) -> int:
    """Return how often the host was asked for so many requests."""
    backend = ScriptedBackend(outcome)
    policy = RetryBackend(backend, key=host_of, budgets=budgets, clock=FakeClock(), random=Random(1))

    async def one_after_another() -> None:
        for _ in range(requests):
            with pytest.raises(HuggingFaceAPIError):
                await policy.generate(request(model), context(folder))

    asyncio.run(one_after_another())
    return len(backend.calls)


@pytest.mark.parametrize(("error", "retries"), [(UNAVAILABLE, 100), (UNREACHABLE, 50)])
def test_a_provider_that_is_down_gets_at_most_a_fifth_more_requests(
    error: HuggingFaceAPIError, retries: int, tmp_path: Path
) -> None:
    asked = attempts_of(1000, error, tmp_path, model="hf:org/name:fal-ai", budgets=RetryBudgets())
    assert asked == 1000 + retries
    assert asked <= 1.2 * 1000


def test_one_provider_does_not_spend_the_budget_of_another(tmp_path: Path) -> None:
    budgets = RetryBudgets()
    attempts_of(200, UNAVAILABLE, tmp_path, model="hf:org/name:fal-ai", budgets=budgets)
    assert budgets.left("fal-ai") == 0
    assert attempts_of(1, UNAVAILABLE, tmp_path, model="hf:org/name:together", budgets=budgets) == 3


def test_all_models_of_a_provider_share_its_budget(tmp_path: Path) -> None:
    budgets = RetryBudgets()
    attempts_of(200, UNAVAILABLE, tmp_path, model="hf:org/name:fal-ai", budgets=budgets)
    assert attempts_of(1, UNAVAILABLE, tmp_path, model="hf:org/other:fal-ai", budgets=budgets) == 1


@pytest.mark.parametrize(("refusals", "left"), [(0, 101), (1, 100), (2, 95)])
def test_a_success_earns_a_token_and_one_after_a_retry_that_retrys_price(
    refusals: int, left: int, tmp_path: Path
) -> None:
    budgets = RetryBudgets()
    budgets.take("fal-ai", 400)
    backend = ScriptedBackend([UNAVAILABLE] * refusals)
    policy = RetryBackend(backend, key=host_of, budgets=budgets, clock=FakeClock(), random=Random(1))
    asyncio.run(policy.generate(request(), context(tmp_path)))
    assert budgets.left("fal-ai") == left


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["take", "give"]), st.sampled_from(["one", "two"]), st.sampled_from([1, 5, 10])),
        max_size=300,
    )
)
def test_a_bucket_never_overflows_and_never_lends(events: list[tuple[str, str, int]]) -> None:
    budgets = RetryBudgets(tokens=50)
    expected = {"one": 50, "two": 50}
    for event, key, tokens in events:
        if event == "give":
            budgets.give(key, tokens)
            expected[key] = min(50, expected[key] + tokens)
        else:
            assert budgets.take(key, tokens) == (expected[key] >= tokens)
            expected[key] -= tokens if expected[key] >= tokens else 0
        assert [budgets.left(name) for name in expected] == [*expected.values()]


def test_only_so_many_hosts_are_remembered_and_full_buckets_not_at_all() -> None:
    budgets = RetryBudgets()
    budgets.take("busy", 5)
    for number in range(MAX_KEYS):
        budgets.take(f"host-{number}", 5)
        budgets.take("busy", 0)
    assert len(budgets._left) == MAX_KEYS
    assert (budgets.left("host-0"), budgets.left("busy")) == (500, 495)
    budgets.give("busy", 5)
    assert "busy" not in budgets._left
