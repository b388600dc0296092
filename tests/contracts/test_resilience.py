"""A backend inside all policies keeps the promises of a backend: callers cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from cinelet.clock import SystemClock
from cinelet.domain.backend import Backend
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Strategy, Task
from cinelet.resilience import BreakerBackend, FallbackBackend, RetryBackend, RetryBudgets, circuit_of, host_of
from cinelet.testing import BackendContract, ContractCase, FakeBackend
from tests.resilience.doubles import selector

MODELS = ["hf:org/name:fal-ai", "hf:org/other:together", "local:org/name"]
SMALL = {"width": 64, "height": 48}
CASES = [
    ContractCase("hf:org/name", Task.TEXT_TO_VIDEO, SMALL),
    ContractCase("hf:org/name:fal-ai", Task.IMAGE_TO_VIDEO),
    ContractCase("local:org/name", Task.TEXT_TO_VIDEO, SMALL),
]


async def expand(model: ModelReference, _: Task) -> Sequence[ModelReference]:
    return [ModelReference.parse("hf:org/name:fal-ai")] if str(model) == "hf:org/name" else [model]


class TestAllPolicies(BackendContract):
    # A remote one would be made by a fallback, and that is no error.
    unknown_model = "local:org/missing"

    @classmethod
    def make_backend(cls) -> Backend:
        return chain()

    @pytest.fixture(scope="class", params=CASES, ids=str)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> ContractCase:
        case: ContractCase = request.param
        return case


class TestChoosing(BackendContract):
    """With a strategy, and for "auto"."""

    unknown_model = "local:org/missing"

    @classmethod
    def make_backend(cls) -> Backend:
        return chain("balanced")

    @pytest.fixture(scope="class", params=[*CASES, ContractCase("auto", Task.TEXT_TO_VIDEO, SMALL)], ids=str)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> ContractCase:
        case: ContractCase = request.param
        return case


def chain(strategy: Strategy | None = None) -> FallbackBackend:
    """Return all policies around a fake backend. strategy: None to choose nothing."""
    clock = SystemClock()
    fake = FakeBackend(models=[*MODELS, "hf:org/name"])
    retried = RetryBackend(fake, key=host_of, budgets=RetryBudgets(), clock=clock, random=Random(1))
    guarded = BreakerBackend(retried, key=circuit_of, clock=clock, attempt_seconds=600)
    fallbacks = dict.fromkeys(Task, MODELS)
    chooser = strategy and selector(
        guarded, expand=expand, auto_models=fallbacks, fallbacks=fallbacks, strategy=strategy, clock=clock
    )
    return FallbackBackend(
        guarded, expand=expand, fallbacks=fallbacks, clock=clock, attempt_seconds=600, selector=chooser or None
    )
