"""All traces are recorded while there are few, and so many a second where there are more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision

from cinelet.observability.sampling import MOST_NAMES, PacedSampler, paced
from cinelet.observability.tracing import context_of

RATE = 20.0


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def taken(clock: Clock) -> Callable[..., bool]:
    sampler = PacedSampler(RATE, now=clock)
    return lambda name="POST": sampler.should_sample(None, 1, name).decision is Decision.RECORD_AND_SAMPLE


def test_few_are_all_recorded(clock: Clock, taken: Callable[..., bool]) -> None:
    for _ in range(500):
        assert taken()
        clock.now += 1 / RATE + 1e-6


def test_of_a_burst_as_many_as_of_a_second(clock: Clock, taken: Callable[..., bool]) -> None:
    assert [taken() for _ in range(100)].count(True) == RATE
    clock.now += 0.5
    assert [taken() for _ in range(100)].count(True) == RATE / 2


def test_who_asks_crowds_out_nobody_who_orders(taken: Callable[..., bool]) -> None:
    assert [taken("GET") for _ in range(1000)].count(True) == RATE
    assert taken("POST")


def test_any_number_of_names_is_measured_in_bounded_memory(taken: Callable[..., bool]) -> None:
    assert [taken(f"name {n}") for n in range(5000)].count(True) == MOST_NAMES + RATE


@given(st.lists(st.floats(0, 2), min_size=1, max_size=300))
def test_no_second_and_no_longer_time_has_more(pauses: list[float]) -> None:
    clock = Clock()
    sampler = PacedSampler(RATE, now=clock)
    count = 0
    for pause in pauses:
        clock.now += pause
        count += sampler.should_sample(None, 1, "POST").decision is Decision.RECORD_AND_SAMPLE
    assert count <= RATE + RATE * sum(pauses[1:]) + 1


def test_what_others_record_is_gone_on_with_and_what_they_do_not_is_left() -> None:
    tracer = TracerProvider(sampler=paced(), shutdown_on_exit=False).get_tracer("test")
    recorded, left = (context_of(f"00-{'1' * 32}-{'2' * 16}-0{flag}") for flag in (1, 0))
    spans = [tracer.start_span("POST", recorded) for _ in range(200)]
    assert all(one.is_recording() for one in spans)
    assert not tracer.start_span("POST", left).is_recording()
    inside = trace.set_span_in_context(tracer.start_span("POST"))
    assert all(tracer.start_span("inside", inside).is_recording() for _ in range(200))
