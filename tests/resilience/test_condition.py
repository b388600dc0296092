"""What a backend says of itself is heard through every policy, with the circuits that have anything to tell."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from cinelet.clock import FakeClock
from cinelet.domain.backend import Backend
from cinelet.domain.condition import CircuitCondition, Condition, Device, LoadedModel, condition_of
from cinelet.domain.errors import HuggingFaceAPIError
from cinelet.resilience import (
    BreakerBackend,
    CircuitRules,
    FallbackBackend,
    LimitBackend,
    RetryBackend,
    RetryBudgets,
    circuit_of,
    host_of,
)
from cinelet.testing import FakeBackend
from tests.resilience.doubles import UNAVAILABLE, ScriptedBackend, as_named, context, request

MODEL = "hf:org/first:fal-ai"
TOLD = Condition(Device("cpu"), (LoadedModel("embedded", "cpu", bytes=7),))


def inside_all_policies(backend: Backend, clock: FakeClock) -> Backend:
    retried = RetryBackend(backend, key=host_of, budgets=RetryBudgets(), clock=clock, random=Random(1), attempts=1)
    rules = CircuitRules(failures=2, window_seconds=60, open_seconds=30)
    guarded = BreakerBackend(retried, key=circuit_of, clock=clock, rules=rules)
    limited = LimitBackend(guarded, key=host_of, limits={})
    return FallbackBackend(limited, expand=as_named, fallbacks={}, clock=clock)


def test_it_is_heard_through_every_policy() -> None:
    fake = FakeBackend()
    fake.told = TOLD
    assert condition_of(inside_all_policies(fake, FakeClock())) == TOLD


def test_of_a_backend_that_cannot_tell_there_is_nothing_to_tell() -> None:
    assert condition_of(inside_all_policies(ScriptedBackend(), FakeClock())) == Condition()


def test_a_circuit_is_told_from_its_first_failure_until_it_is_forgotten(tmp_path: Path) -> None:
    clock = FakeClock(100.0)
    policies = inside_all_policies(ScriptedBackend([*[UNAVAILABLE] * 2, None, None]), clock)

    def circuits() -> tuple[CircuitCondition, ...]:
        return condition_of(policies).circuits

    async def ask() -> None:
        await policies.generate(request(MODEL), context(tmp_path, clock))

    assert circuits() == ()
    with pytest.raises(HuggingFaceAPIError):
        asyncio.run(ask())
    assert circuits() == (CircuitCondition(MODEL, "closed", 1, 0.0),)
    with pytest.raises(HuggingFaceAPIError):
        asyncio.run(ask())
    clock.advance(10)
    assert circuits() == (CircuitCondition(MODEL, "open", 2, 20.0),)
    clock.advance(20)
    assert circuits() == (CircuitCondition(MODEL, "probing", 2, 0.0),)
    asyncio.run(ask())
    asyncio.run(ask())
    assert circuits() == ()


def test_a_failure_that_no_longer_counts_is_not_told(tmp_path: Path) -> None:
    clock = FakeClock(100.0)
    policies = inside_all_policies(ScriptedBackend(UNAVAILABLE), clock)
    with pytest.raises(HuggingFaceAPIError):
        asyncio.run(policies.generate(request(MODEL), context(tmp_path, clock)))
    clock.advance(60)
    assert condition_of(policies).circuits == ()
