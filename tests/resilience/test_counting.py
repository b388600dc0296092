"""Attempts, retries and fallbacks are counted where they happen."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from cinelet.clock import FakeClock
from cinelet.domain.errors import AllModelsFailedError, RateLimitError, ValidationError
from cinelet.domain.request import Task
from cinelet.observability import metrics
from cinelet.resilience import FallbackBackend, RetryBackend, RetryBudgets, host_of
from tests.observability.counted import counting, fresh_names
from tests.resilience.doubles import ScriptedBackend, as_named, context, request

FIRST, SECOND = "hf:org/counted:fal-ai", "hf:org/replacement:together"
LIMITED = RateLimitError("Too many", status=429)


@pytest.fixture(autouse=True)
def known():
    with fresh_names():
        metrics.know(models=[FIRST, SECOND], providers=["fal-ai", "together"])
        yield


def backend(script: ScriptedBackend) -> FallbackBackend:
    clock = FakeClock()
    retrying = RetryBackend(script, key=host_of, budgets=RetryBudgets(), random=Random(1), clock=clock)
    return FallbackBackend(retrying, expand=as_named, fallbacks={Task.TEXT_TO_VIDEO: [SECOND]}, clock=clock)


def test_each_try_is_counted_with_its_outcome(tmp_path: Path) -> None:
    script = ScriptedBackend(script={FIRST: LIMITED})
    with counting() as counted:
        asyncio.run(backend(script).generate(request(FIRST), context(tmp_path)))
    assert counted.of("cinelet_attempts_total", model=FIRST, provider="fal-ai", outcome="rate_limited") == 3
    assert counted.of("cinelet_attempts_total", model=SECOND, provider="together", outcome="succeeded") == 1
    assert counted.of("cinelet_provider_retries_total", provider="fal-ai") == 2
    assert counted.of("cinelet_fallbacks_total", model=FIRST, used=SECOND) == 1


def test_tries_are_counted_also_where_nobody_could_do_it(tmp_path: Path) -> None:
    script = ScriptedBackend(script={FIRST: LIMITED, SECOND: LIMITED})
    with counting() as counted, pytest.raises(AllModelsFailedError):
        asyncio.run(backend(script).generate(request(FIRST), context(tmp_path)))
    assert counted.of("cinelet_attempts_total", outcome="rate_limited") == 6
    assert counted.of("cinelet_fallbacks_total") == 0


def test_a_wrong_request_is_no_try_that_a_model_failed(tmp_path: Path) -> None:
    script = ScriptedBackend(ValidationError("duration: too long", {"duration": "too long"}))
    with counting() as counted, pytest.raises(ValidationError):
        asyncio.run(backend(script).generate(request(FIRST), context(tmp_path)))
    assert counted.of("cinelet_fallbacks_total") == 0
    assert counted.of("cinelet_provider_retries_total") == 0
