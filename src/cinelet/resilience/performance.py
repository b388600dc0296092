"""What is known of how a model performs: pure arithmetic on outcomes, of which older ones count less."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

LEAST_SECONDS = 1e-3
"""What takes less was not made by a model; its logarithm would count for too much."""


@dataclass(frozen=True, slots=True)
class Memory:
    """How evidence fades: to a half in half_life_seconds, and with each new outcome by one part in `outcomes`.

    The first lets a model that nobody asks be unknown again; the second keeps up with a busy one that changes.
    """

    half_life_seconds: float = 6 * 3600.0
    outcomes: float = 30.0

    def kept(self, seconds: float) -> float:
        """Return the share of evidence that is left after some time; a clock that jumped back adds none."""
        return float(0.5 ** min(max(seconds, 0.0) / self.half_life_seconds, 100.0))


@dataclass(frozen=True, slots=True)
class Trial:
    """What one generation had of a model. seconds: until it had the video, or until it had failed."""

    succeeded: bool
    seconds: float
    video_seconds: float

    @property
    def log_rate(self) -> float:
        """The logarithm of the seconds for a second of video."""
        return math.log(max(self.seconds, LEAST_SECONDS) / max(self.video_seconds, LEAST_SECONDS))


def trials(ended: Iterable[tuple[str, bool | None, float, float | None]]) -> dict[str, Trial]:
    """Return what is to be learned, by model, of attempts: model, success, seconds, and seconds of video of a success.

    An end that says nothing about its model has a success of None. Of several attempts at one model, the end of the
    last counts, and the time of all: a request that a host took only when it was asked again took longer.
    """
    found: dict[str, Trial] = {}
    for model, succeeded, seconds, video_seconds in ended:
        if succeeded is not None:
            before = found[model].seconds if model in found else 0.0
            found[model] = Trial(succeeded, before + seconds, video_seconds or 1.0)
    return found


@dataclass(frozen=True, slots=True)
class Performance:
    """What is known of a model. at: when that was so; evidence fades from there.

    successes, failures: weights. log_rate, log_variance: mean and variance of the logarithm of the seconds for a second
    of video, where it succeeded. failed_seconds: mean of a failure. samples: how many outcomes there were ever.
    """

    successes: float = 0.0
    failures: float = 0.0
    log_rate: float = 0.0
    log_variance: float = 0.0
    failed_seconds: float = 0.0
    samples: int = 0
    at: float = 0.0

    def after(self, trial: Trial, *, now: float, memory: Memory) -> Performance:
        """Return what is known after one more outcome."""
        kept = memory.kept(now - self.at) * (1 - 1 / memory.outcomes)
        successes, failures = self.successes * kept, self.failures * kept
        if not trial.succeeded:
            failures += 1
            failed = self.failed_seconds + (trial.seconds - self.failed_seconds) / failures
            return Performance(successes, failures, self.log_rate, self.log_variance, failed, self.samples + 1, now)
        successes += 1
        difference = trial.log_rate - self.log_rate
        return Performance(
            successes,
            failures,
            self.log_rate + difference / successes,
            (1 - 1 / successes) * (self.log_variance + difference * difference / successes),
            self.failed_seconds,
            self.samples + 1,
            now,
        )
