"""Models whose speed and failures drift, that die and come back: the truth that a choice must find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP_SECONDS = 60.0
"""The truth changes so often."""
NOISE = 0.25
"""Of the logarithm of one video's seconds, whatever the model."""
DRIFT_SECONDS = 6 * 3600.0
"""In which a drift forgets where it was."""
SPEED_DRIFT, FAILURE_DRIFT = 0.35, 0.6
BETWEEN_DEATHS_SECONDS, DEAD_SECONDS = 2 * 86_400.0, 2 * 3600.0
TERMINAL = 0.05
"""The share of failures after which nobody may send again: the host may have taken the request."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A model as it is on average. rate: seconds for a second of video; price: of a second of video.

    failed_seconds: what a failure takes; refused_seconds: the same while it is dead. is_remote: it has circuits then.
    """

    name: str
    rate: float
    failure: float
    price: float
    failed_seconds: float
    refused_seconds: float
    is_remote: bool = True


KINDS = (
    Kind("steady", 8.0, 0.02, 0.05, 30.0, 2.0),
    Kind("quick", 4.0, 0.08, 0.08, 10.0, 2.0),
    Kind("slow", 20.0, 0.005, 0.02, 60.0, 2.0),
    Kind("cheap", 12.0, 0.06, 0.01, 20.0, 90.0),
    Kind("here", 15.0, 0.01, 0.004, 5.0, 5.0, is_remote=False),
)
"""In the order in which they are configured."""


class World:
    """The truth at every time, for all strategies the same."""

    def __init__(self, *, seconds: float, seed: int, kinds: Sequence[Kind] = KINDS) -> None:
        self.kinds = tuple(kinds)
        steps = int(seconds / STEP_SECONDS) + 60  # the last requests end later
        random = np.random.default_rng(seed)
        self._rates = [self._drifting(random, steps, SPEED_DRIFT, math.log(kind.rate)).tolist() for kind in kinds]
        odds = [math.log(kind.failure / (1 - kind.failure)) for kind in kinds]
        self._odds = [self._drifting(random, steps, FAILURE_DRIFT, one) for one in odds]
        self._failures = [(1 / (1 + np.exp(-one))).tolist() for one in self._odds]
        self._dead = [self._deaths(random, steps).tolist() for _ in kinds]

    def rate(self, model: int, at: float) -> float:
        """Return the mean of the logarithm of seconds for a second of video."""
        return float(self._rates[model][int(at / STEP_SECONDS)])

    def failure(self, model: int, at: float) -> float:
        """Return the probability that an attempt fails which begins then."""
        step = int(at / STEP_SECONDS)
        return 1.0 if self._dead[model][step] else float(self._failures[model][step])

    def dead(self, model: int, at: float) -> bool:
        """Tell whether the model answers nobody."""
        return bool(self._dead[model][int(at / STEP_SECONDS)])

    def failed_seconds(self, model: int, at: float) -> float:
        """Return what a failure takes that begins then."""
        kind = self.kinds[model]
        return kind.refused_seconds if self.dead(model, at) else kind.failed_seconds

    def healthy(self, at: float) -> bool:
        """Tell whether any model would do it."""
        return any(not self.dead(model, at) for model in range(len(self.kinds)))

    @staticmethod
    def _drifting(random: np.random.Generator, steps: int, spread: float, mean: float) -> NDArray[np.float64]:
        kept = math.exp(-STEP_SECONDS / DRIFT_SECONDS)
        pushes = random.normal(0.0, spread * math.sqrt(1 - kept * kept), steps)
        values = np.empty(steps)
        value = random.normal(0.0, spread)
        for step in range(steps):
            value = value * kept + pushes[step]
            values[step] = value
        return values + mean

    @staticmethod
    def _deaths(random: np.random.Generator, steps: int) -> NDArray[np.bool_]:
        dead = np.zeros(steps, dtype=bool)
        step = 0.0
        while True:
            step += random.exponential(BETWEEN_DEATHS_SECONDS) / STEP_SECONDS
            if step >= steps:
                return dead
            lasts = max(5.0, random.exponential(DEAD_SECONDS) / STEP_SECONDS)
            dead[int(step) : int(step + lasts)] = True
            step += lasts
