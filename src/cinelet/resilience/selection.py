"""In which order several models are tried: by what was measured of them, with a little curiosity. Pure arithmetic.

What counts is how long it takes until there is a video, not how long one model takes: a failure costs its own time and
that of whoever is next. Models that are tried one after another until one succeeds take the least time where each is
before those with a higher `(p * success + (1 - p) * failure) / p`; that number, a model's seconds for a video in the
end, is what models are compared by.

Nobody knows p and the times, only outcomes. So the first place is given by Thompson sampling: each model is drawn as it
may well be, and the best draw wins: a model of which little is known wins now and then, and one that is known to be
worse seldom. Those behind it are ordered by what is expected. Beside that, one request in `probe_every` goes first to a
model of which little is known by now, whatever is expected of it: one that failed is found again when it works.
Whoever goes first out of curiosity has others behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from cinelet.domain.request import Strategy
from cinelet.resilience.performance import Memory, Performance

MOST_SECONDS = 1e9
"""What is expected at most, of a model that always fails: numbers stay finite."""
Cost = Callable[[float], float | None]
"""Returns what a video costs whose making takes so many seconds, None where nobody knows."""
Reason = Literal["order", "best", "draw", "probe", "rest"]
"""Why a model has its place: as it was named, as the best, out of curiosity (two), or because its circuit is open."""


def no_price(_seconds: float) -> None:
    """Know no price."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A model that can do it. rests_seconds: how long its open circuit keeps it from being asked, 0 for not at all."""

    name: str
    performance: Performance
    cost: Cost = no_price
    rests_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of the choice.

    prior_successes, prior_failures: what a model has done before anybody has seen it. prior_outcomes: how many outcomes
    what is thought beforehand of its speed is worth, and prior_spread, of the logarithm. probe_every: one request of so
    many probes. worst_draw: a draw wins only where at most so many times the best's time is expected of it.
    """

    memory: Memory = field(default_factory=Memory)
    prior_successes: float = 1.0
    prior_failures: float = 0.25
    prior_outcomes: float = 1.0
    prior_spread: float = 0.7
    unknown_log_rate: float = math.log(10)
    probe_every: float = 100.0
    worst_draw: float = 1.5


class Belief:
    """What is thought of a model for one video, and how it may well be instead.

    success: probability. seconds: of a success; whole_seconds: until there is a video, failures counted in. successes,
    outcomes: the weight of the evidence. variance: of the logarithm of the seconds, spread: of what its mean may be.
    """

    __slots__ = ("_failures", "_successes", "cost", "failed_seconds", "log_seconds", "outcomes", "seconds", "spread",
                 "success", "successes", "variance", "whole_seconds")  # fmt: skip

    def __init__(
        self, contender: Contender, rules: Rules, *, pooled_log_rate: float, log_video_seconds: float, now: float
    ) -> None:
        known = contender.performance
        kept = rules.memory.kept(now - known.at)
        successes, failures = known.successes * kept, known.failures * kept
        self._successes, self._failures = successes + rules.prior_successes, failures + rules.prior_failures
        self.successes, self.outcomes = successes, successes + failures
        self.success = self._successes / (self._successes + self._failures)
        weight = successes + rules.prior_outcomes
        self.log_seconds = log_video_seconds + (
            (rules.prior_outcomes * pooled_log_rate + successes * known.log_rate) / weight
        )
        self.variance = (rules.prior_outcomes * rules.prior_spread**2 + successes * known.log_variance) / weight
        self.spread = math.sqrt(self.variance / weight)
        self.seconds = math.exp(min(self.log_seconds + self.variance / 2, 20.0))
        # Without evidence a failure takes as long as a success would.
        self.failed_seconds = (self.seconds + failures * known.failed_seconds) / (1 + failures)
        self.whole_seconds = _whole(self.success, self.seconds, self.failed_seconds)
        self.cost = contender.cost(self.seconds)

    def drawn(self, random: Random) -> tuple[float, float]:
        """Return a probability of success and seconds of a success that are as likely as they are thought to be."""
        success = random.betavariate(self._successes, self._failures)
        return success, math.exp(min(random.gauss(self.log_seconds, self.spread) + self.variance / 2, 20.0))


def _whole(success: float, seconds: float, failed_seconds: float) -> float:
    """Return the seconds until there is a video where failures are tried again."""
    return min(seconds + failed_seconds * (1 - success) / success, MOST_SECONDS) if success > 1e-9 else MOST_SECONDS


@dataclass(frozen=True, slots=True)
class Place:
    """A model in its place of the order, what is thought of it, and why it is there."""

    contender: Contender
    belief: Belief
    reason: Reason


def ordered(
    contenders: Sequence[Contender],
    *,
    strategy: Strategy,
    video_seconds: float,
    now: float,
    random: Random,
    rules: Rules,
) -> list[Place]:
    """Return the contenders in the order in which they are to be tried, each once. now: as `Performance.at` counts.

    Models whose circuit is open are last: to ask them takes no time, and gives nothing.
    """
    if not contenders:
        return []
    pooled, log_video = _pooled_log_rate(contenders, rules), math.log(max(video_seconds, 1e-3))
    believed = [
        (contender, Belief(contender, rules, pooled_log_rate=pooled, log_video_seconds=log_video, now=now))
        for contender in contenders
    ]
    if strategy == "ordered":
        return [Place(contender, belief, "order") for contender, belief in believed]
    cheapest = min((belief.cost for _, belief in believed if belief.cost is not None), default=None)
    dearest = max((belief.cost for _, belief in believed if belief.cost is not None), default=None)
    price = _Prices(cheapest, dearest)
    scored = sorted(
        (
            (
                contender.rests_seconds > 0,
                _score(strategy, belief.success, belief.seconds, belief, price),
                number,
            )
            for number, (contender, belief) in enumerate(believed)
        ),
    )
    places = [Place(*believed[number], "rest" if rests else "best") for rests, _, number in scored]
    awake = sum(not rests for rests, *_ in scored)
    if awake > 1:
        _be_curious(places, awake, strategy, price, random=random, rules=rules)
    return places


@dataclass(frozen=True, slots=True)
class _Prices:
    """The lowest and the highest known cost of what is to be ordered."""

    lowest: float | None
    highest: float | None

    def ratio(self, cost: float | None) -> float:
        """Return how many times the lowest cost this is; one that nobody knows is taken for the highest."""
        if self.lowest is None or self.highest is None:
            return 1.0
        least = max(self.lowest, self.highest * 1e-3, 1e-9)
        return max(1.0, (self.highest if cost is None else cost) / least)


def _score(strategy: Strategy, success: float, seconds: float, belief: Belief, prices: _Prices) -> float:
    """Return what the models are ordered by, the least first."""
    match strategy:
        case "fastest":
            return _whole(success, seconds, belief.failed_seconds)
        case "most_reliable":
            return -success
        case "cheapest":
            if belief.cost is None:
                return math.inf
            return (
                belief.cost / max(success, 1e-9)
                if belief.cost
                else -1 / _whole(success, seconds, belief.failed_seconds)
            )
        case "balanced":
            # What costs four times as much must be twice as fast.
            return _whole(success, seconds, belief.failed_seconds) * math.sqrt(prices.ratio(belief.cost))
        case _:
            return 0.0


def _be_curious(
    places: list[Place], awake: int, strategy: Strategy, prices: _Prices, *, random: Random, rules: Rules
) -> None:
    """Put another than the best first, where little is known of it or a draw says so. awake: how many may go first."""
    if random.random() < 1 / rules.probe_every:
        number = min(range(1, awake), key=lambda number: places[number].belief.outcomes)
        places.insert(0, Place(places[number].contender, places.pop(number).belief, "probe"))
        return
    best, best_score = 0, math.inf
    for number in range(awake):
        belief = places[number].belief
        score = _score(strategy, *belief.drawn(random), belief, prices)
        if score < best_score:
            best, best_score = number, score
    if best and places[best].belief.whole_seconds <= rules.worst_draw * places[0].belief.whole_seconds:
        place = places.pop(best)
        places.insert(0, Place(place.contender, place.belief, "draw"))


def _pooled_log_rate(contenders: Sequence[Contender], rules: Rules) -> float:
    """Return what is thought of a model's speed beforehand: that it is like the others."""
    known = [contender.performance.log_rate for contender in contenders if contender.performance.successes > 0]
    return sum(known) / len(known) if known else rules.unknown_log_rate
