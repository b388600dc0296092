"""One strategy in the world of `selection_world`: requests, attempts, circuits, and what is learned of them."""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal, get_args

from benchmarks.selection_world import NOISE, TERMINAL, World
from cinelet.domain.request import Strategy
from cinelet.resilience.circuit import Circuit, CircuitRules, Closed, Event, Open, Probing
from cinelet.resilience.performance import Performance, Trial
from cinelet.resilience.selection import Contender, Cost, Rules, ordered

Way = Strategy | Literal["random", "oracle", "oracle of fastest"]
WAYS: tuple[Way, ...] = (*get_args(Strategy), "random", "oracle", "oracle of fastest")
AIMS: dict[Way, Strategy] = {
    "fastest": "fastest",
    "oracle of fastest": "fastest",
    "most_reliable": "most_reliable",
    "cheapest": "cheapest",
}
"""What a way is compared by with the oracle; all others by what `balanced` goes by."""
PROCESSES = 2
"""Workers that share what is learned, and have circuits of their own."""
VIDEO_SECONDS = (2.0, 4.0, 5.0, 8.0)


@dataclass(slots=True)
class Found:
    """What became of the requests, one value each, in the order in which they began."""

    began: array[float] = field(default_factory=lambda: array("d"))
    rates: array[float] = field(default_factory=lambda: array("d"))
    """Seconds for a second of video, until it was there or all had failed."""
    costs: array[float] = field(default_factory=lambda: array("d"))
    regrets: array[float] = field(default_factory=lambda: array("d"))
    """How much worse the order was than the oracle's for the same aim, of 1."""
    outcomes: bytearray = field(default_factory=bytearray)
    """0 failed, 1 made, 2 failed where no model was healthy."""
    first: list[int] = field(default_factory=list)
    """How many requests each model was the first for."""


class Run:
    """A strategy at work."""

    def __init__(self, world: World, way: Way, *, seed: int, rules: Rules | None = None) -> None:
        self._world = world
        self._way = way
        self._random = Random(seed)
        self._dice = Random(seed + 1)
        self._rules = rules or Rules()
        self._known = [Performance() for _ in world.kinds]
        self._circuit_rules = CircuitRules()
        self._circuits: list[list[Circuit]] = [[Closed() for _ in world.kinds] for _ in range(PROCESSES)]
        self._ends: list[tuple[float, int, int, _Work, bool]] = []
        self._number = 0
        self.found = Found(first=[0] * len(world.kinds))

    def run(self, requests: int, *, seconds: float) -> Found:
        """Let so many requests come in so many seconds, at random."""
        now, mean = 0.0, seconds / requests
        arrivals = Random(7)
        for number in range(requests):
            now += arrivals.expovariate(1 / mean)
            now = min(now, seconds)
            self._until(now)
            self._begin(now, number)
        self._until(math.inf)
        return self.found

    def _begin(self, now: float, number: int) -> None:
        work = _Work(number, number % PROCESSES, self._dice.choice(VIDEO_SECONDS), now)
        work.order = self._ordered(now, work)
        found = self.found
        found.first[work.order[0]] += 1
        found.began.append(now)
        found.rates.append(0.0)
        found.costs.append(0.0)
        found.outcomes.append(0)
        found.regrets.append(self._regret(now, work))
        self._attempt(now, work)

    def _ordered(self, now: float, work: _Work) -> Sequence[int]:
        models = range(len(self._world.kinds))
        if self._way == "random":
            return self._random.sample(models, len(models))
        if self._way in {"oracle", "oracle of fastest"}:
            return self._best(now, work.video_seconds, "balanced" if self._way == "oracle" else "fastest")
        contenders = [
            Contender(str(model), self._known[model], self._cost(model, work), self._rests(now, work.process, model))
            for model in models
        ]
        strategy: Strategy = self._way  # type: ignore[assignment]  # the rest of them
        places = ordered(
            contenders,
            strategy=strategy,
            video_seconds=work.video_seconds,
            now=now,
            random=self._random,
            rules=self._rules,
        )
        return [int(place.contender.name) for place in places]

    def _cost(self, model: int, work: _Work) -> Cost:
        price = self._world.kinds[model].price * work.video_seconds
        return lambda _seconds: price

    def _rests(self, now: float, process: int, model: int) -> float:
        circuit = self._circuits[process][model]
        if isinstance(circuit, Open):
            return max(0.0, circuit.until - now)
        return 1.0 if isinstance(circuit, Probing) else 0.0

    def _attempt(self, now: float, work: _Work) -> None:
        """Begin the next attempt; one whose circuit is open is passed over at once."""
        world = self._world
        while work.place < len(work.order):
            model = work.order[work.place]
            work.place += 1
            is_probe = False
            if world.kinds[model].is_remote:
                before = self._circuits[work.process][model]
                after = self._circuit_rules.after(before, Event.ASKED, now=now)
                self._circuits[work.process][model] = after
                if not isinstance(after, Closed):
                    is_probe = isinstance(after, Probing) and after is not before
                    if not is_probe:
                        continue
            failed = self._dice.random() < world.failure(model, now)
            if failed:
                seconds = world.failed_seconds(model, now) * math.exp(self._dice.gauss(0, NOISE))
            else:
                seconds = work.video_seconds * math.exp(world.rate(model, now) + self._dice.gauss(0, NOISE))
                if world.dead(model, now + seconds):
                    failed = True  # it died over it
            self._number += 1
            heapq.heappush(self._ends, (now + seconds, self._number, model, work, failed))
            work.began, work.is_probe = now, is_probe
            return
        self._end(now, work, made=False)

    def _until(self, now: float) -> None:
        """Let everything end that ends until then."""
        ends = self._ends
        while ends and ends[0][0] <= now:
            at, _, model, work, failed = heapq.heappop(ends)
            kind = self._world.kinds[model]
            if kind.is_remote:
                before = self._circuits[work.process][model]
                if work.is_probe or isinstance(before, Closed):
                    event = Event.FAILED if failed else Event.SUCCEEDED
                    self._circuits[work.process][model] = self._circuit_rules.after(before, event, now=at)
            work.trials.append((model, Trial(not failed, at - work.began, work.video_seconds)))
            if not failed:
                self.found.costs[work.number] = kind.price * work.video_seconds
                self._end(at, work, made=True)
            elif self._dice.random() < TERMINAL:
                self._end(at, work, made=False)
            else:
                self._attempt(at, work)

    def _end(self, now: float, work: _Work, *, made: bool) -> None:
        self.found.rates[work.number] = (now - work.arrived) / work.video_seconds
        self.found.outcomes[work.number] = 1 if made else 0 if self._world.healthy(work.arrived) else 2
        for model, trial in work.trials:
            self._known[model] = self._known[model].after(trial, now=now, memory=self._rules.memory)

    def _best(self, now: float, video_seconds: float, strategy: Strategy) -> list[int]:
        return sorted(range(len(self._world.kinds)), key=lambda model: self._score(now, model, video_seconds, strategy))

    def _score(self, now: float, model: int, video_seconds: float, strategy: Strategy) -> float:
        """Return what a strategy goes by, of the truth: also of what will be when the attempt ends."""
        world = self._world
        seconds = video_seconds * math.exp(world.rate(model, now) + NOISE * NOISE / 2)
        success = 1e-9 if world.dead(model, now + seconds) else max(1e-9, 1 - world.failure(model, now))
        whole = seconds + world.failed_seconds(model, now) * (1 - success) / success
        price = world.kinds[model].price
        match strategy:
            case "most_reliable":
                return -success
            case "cheapest":
                return price / success
            case "balanced":
                return whole * math.sqrt(price)
            case _:
                return whole

    def _regret(self, now: float, work: _Work) -> float:
        aims: dict[Way, Strategy] = {
            "random": "balanced",
            "ordered": "balanced",
            "oracle": "balanced",
            "oracle of fastest": "fastest",
        }
        aim: Strategy = aims.get(self._way, self._way)  # type: ignore[arg-type]
        scores = [self._score(now, model, work.video_seconds, aim) for model in range(len(self._world.kinds))]
        mine, best = scores[work.order[0]], min(scores)
        if aim == "most_reliable":
            return mine - best
        return min(mine / best - 1, 10.0)


class _Work:
    """A request on its way."""

    __slots__ = ("arrived", "began", "is_probe", "number", "order", "place", "process", "trials", "video_seconds")

    def __init__(self, number: int, process: int, video_seconds: float, arrived: float) -> None:
        self.number, self.process, self.video_seconds, self.arrived = number, process, video_seconds, arrived
        self.order: Sequence[int] = ()
        self.place, self.began, self.is_probe = 0, arrived, False
        self.trials: list[tuple[int, Trial]] = []
