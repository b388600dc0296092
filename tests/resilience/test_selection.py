"""The order of models by what was measured of them: everybody once, the better ones first, and nobody for ever last."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinelet.domain.request import Strategy
from cinelet.resilience.performance import Memory, Performance, Trial
from cinelet.resilience.selection import Contender, Place, Rules, no_price, ordered

RULES = Rules()
NEVER_CURIOUS = replace(RULES, probe_every=math.inf, worst_draw=0.0)
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
NUMBERS = st.floats(0, 1e6)
KNOWN = st.builds(
    Performance,
    successes=NUMBERS,
    failures=NUMBERS,
    log_rate=st.floats(-20, 20),
    log_variance=st.floats(0, 100),
    failed_seconds=NUMBERS,
    samples=st.integers(0, 10**6),
    at=st.floats(-1e10, 1e10),
)
PRICES = st.none() | st.floats(0, 1e6)


def priced(cost: float | None):
    return no_price if cost is None else lambda _seconds: cost


CONTENDERS = st.lists(st.tuples(KNOWN, PRICES, st.sampled_from([0.0, 0.0, 30.0])), max_size=6).map(
    lambda parts: [
        Contender(str(number), known, priced(cost), rests) for number, (known, cost, rests) in enumerate(parts)
    ]
)


def seen(successes: int, failures: int = 0, *, seconds: float = 10.0, failed_seconds: float = 10.0) -> Performance:
    """Return what is known after so many outcomes at once, for a second of video each."""
    known, steady = Performance(), Memory(outcomes=1e9)
    for _ in range(failures):
        known = known.after(Trial(False, failed_seconds, 1.0), now=0.0, memory=steady)
    for number in range(successes):
        known = known.after(Trial(True, seconds * (1.1 if number % 2 else 1 / 1.1), 1.0), now=0.0, memory=steady)
    return known


def order(contenders: list[Contender], strategy: Strategy, *, rules: Rules = NEVER_CURIOUS, seed: int = 1) -> list[str]:
    return [place.contender.name for place in places(contenders, strategy, rules=rules, random=Random(seed))]


def places(
    contenders: list[Contender], strategy: Strategy, *, rules: Rules, random: Random, now: float = 0.0
) -> list[Place]:
    return ordered(contenders, strategy=strategy, video_seconds=1.0, now=now, random=random, rules=rules)


@given(CONTENDERS, st.sampled_from(STRATEGIES), st.integers(0, 100), st.floats(-1e10, 1e10), st.floats(1, 3600))
def test_everybody_has_one_place_whatever_is_known_and_whatever_the_clock_says(contenders, strategy, seed, now, length):
    found = ordered(
        contenders, strategy=strategy, video_seconds=length, now=now, random=Random(seed), rules=Rules(probe_every=2)
    )
    assert Counter(place.contender.name for place in found) == Counter(one.name for one in contenders)
    for place in found:
        assert 0 < place.belief.success < 1
        assert math.isfinite(place.belief.whole_seconds)
        assert place.belief.whole_seconds >= min(place.belief.seconds, 1e9)


@given(CONTENDERS, st.sampled_from(STRATEGIES), st.integers(0, 100))
def test_the_same_seed_gives_the_same_order(contenders, strategy, seed):
    assert order(contenders, strategy, rules=RULES, seed=seed) == order(contenders, strategy, rules=RULES, seed=seed)


@given(CONTENDERS, st.sampled_from([strategy for strategy in STRATEGIES if strategy != "ordered"]), st.integers(0, 100))
def test_open_circuits_are_last(contenders, strategy, seed):
    rests = [
        place.contender.rests_seconds > 0 for place in places(contenders, strategy, rules=RULES, random=Random(seed))
    ]
    assert rests == sorted(rests)


@given(CONTENDERS)
def test_ordered_is_the_order_given(contenders):
    assert order(contenders, "ordered", rules=RULES) == [one.name for one in contenders]


def test_a_fast_model_that_often_fails_costs_its_time_and_that_of_the_next():
    flaky = Contender("flaky", seen(10, 40, seconds=20, failed_seconds=15))
    steady = Contender("steady", seen(50, 1, seconds=50))
    assert order([flaky, steady], "fastest") == ["steady", "flaky"]
    assert order([replace(flaky, performance=seen(45, 5, seconds=20, failed_seconds=15)), steady], "fastest") == [
        "flaky",
        "steady",
    ]


def test_each_strategy_has_its_own_first():
    contenders = [
        Contender("fast", seen(45, 3, seconds=10), priced(0.90)),
        Contender("sure", seen(90, 0, seconds=60), priced(0.60)),
        Contender("cheap", seen(40, 2, seconds=90), priced(0.01)),
        Contender("even", seen(45, 1, seconds=15), priced(0.10)),
    ]
    firsts = {strategy: order(contenders, strategy)[0] for strategy in STRATEGIES if strategy != "ordered"}
    assert firsts == {"fastest": "fast", "most_reliable": "sure", "cheapest": "cheap", "balanced": "even"}


def test_a_price_that_nobody_knows_is_no_bargain():
    contenders = [Contender("unknown", seen(50)), Contender("dear", seen(50), priced(5.0))]
    assert order(contenders, "cheapest") == ["dear", "unknown"]


@given(st.integers(1, 40), st.integers(0, 10), st.sampled_from(["fastest", "most_reliable", "balanced"]))
def test_one_more_success_never_lowers_a_place_and_one_more_failure_never_raises_it(successes, failures, strategy):
    base = seen(successes, failures)
    others = [Contender("a", seen(20, 1, seconds=9)), Contender("b", seen(20, 2, seconds=12))]

    def place(known: Performance) -> int:
        return order([*others, Contender("it", known)], strategy).index("it")

    after = {
        ended: base.after(Trial(ended, 10.0, 1.0), now=0.0, memory=Memory(outcomes=1e9)) for ended in (True, False)
    }
    if strategy == "most_reliable":  # a success also tells how fast it is, which may have been thought better
        assert place(after[True]) <= place(base)
    assert place(after[False]) >= place(base)


def test_nobody_goes_first_out_of_curiosity_without_others_behind():
    alone = [Contender("it", seen(0, 50)), Contender("resting", seen(50), rests_seconds=10)]
    for seed in range(50):
        assert [
            place.reason for place in places(alone, "balanced", rules=Rules(probe_every=1), random=Random(seed))
        ] == [
            "best",
            "rest",
        ]


def test_a_model_that_failed_is_found_again_when_it_works():
    """Within some thousands of requests, and without having hurt many of them before."""
    random, rules = Random(3), RULES
    known = {"good": seen(30, seconds=60), "dead": seen(0, 30, seconds=20, failed_seconds=5)}
    firsts: list[str] = []
    for now in range(6000):
        contenders = [Contender(name, performance) for name, performance in known.items()]
        first = places(contenders, "fastest", rules=rules, random=random, now=float(now))[0].contender.name
        firsts.append(first)
        works = first == "good" or now >= 2000
        trial = Trial(works, (60.0 if first == "good" else 20.0) if works else 5.0, 1.0)
        known[first] = known[first].after(trial, now=float(now), memory=rules.memory)
    assert firsts[:2000].count("dead") < 60
    assert firsts[:2000].count("dead") >= 5  # the floor
    assert firsts[-500:].count("dead") > 450


def test_a_new_model_gets_its_chance_and_no_more():
    random = Random(5)
    known = {"old": seen(30, seconds=30), "new": Performance()}
    chances = 0
    for now in range(500):
        contenders = [Contender(name, performance) for name, performance in known.items()]
        first = places(contenders, "fastest", rules=RULES, random=random, now=float(now))[0].contender.name
        chances += first == "new"
        seconds = 30.0 if first == "old" else 90.0
        known[first] = known[first].after(Trial(True, seconds, 1.0), now=float(now), memory=RULES.memory)
    assert 1 <= chances <= 30


def test_evidence_fades_until_a_model_is_as_good_as_new():
    memory = Memory(half_life_seconds=3600)
    rules = replace(NEVER_CURIOUS, memory=memory)
    contenders = [Contender("failed", seen(0, 30)), Contender("fine", replace(seen(30), at=1e6))]
    (_, then), (__, later) = (
        [place.belief.success for place in places(contenders, "most_reliable", rules=rules, random=Random(1), now=now)]
        for now in (0.0, 1e6)
    )
    assert then < 0.1
    assert later == pytest.approx(0.8, abs=0.01)


def test_a_clock_that_goes_back_adds_no_evidence():
    known = replace(seen(3), at=1e9)
    (place,) = places([Contender("it", known)], "fastest", rules=RULES, random=Random(1), now=0.0)
    assert place.belief.outcomes == pytest.approx(3)
    assert known.after(Trial(True, 1.0, 1.0), now=0.0, memory=Memory()).successes <= 4


def test_a_choice_takes_some_microseconds_for_each_candidate():
    import time

    contenders = [Contender(str(number), seen(20, 1)) for number in range(6)]
    random = Random(1)
    best = math.inf
    for _ in range(5):
        began = time.process_time()
        for _ in range(500):
            places(contenders, "balanced", rules=RULES, random=random)
        best = min(best, (time.process_time() - began) / 500 / 6)
    assert best < 30e-6
