"""The strategies in the simulated world of the benchmark, for a day of it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.selection_run import Found, Run, Way
from benchmarks.selection_world import World

REQUESTS, SECONDS = 8000, 86_400.0


def lived(way: Way, seed: int) -> Found:
    return Run(World(seconds=SECONDS, seed=seed), way, seed=seed).run(REQUESTS, seconds=SECONDS)


def p95(found: Found) -> float:
    made = np.frombuffer(bytes(found.outcomes), dtype=np.uint8) == 1
    return float(np.quantile(np.array(found.rates)[made], 0.95))


@pytest.mark.parametrize("seed", [1, 2])
def test_balanced_does_nearly_as_well_as_who_knows_the_truth_and_learns(seed: int) -> None:
    found, oracle = lived("balanced", seed), lived("oracle", seed)
    outcomes = np.frombuffer(bytes(found.outcomes), dtype=np.uint8)
    assert (outcomes == 1).sum() / (outcomes != 2).sum() >= 0.99
    assert p95(found) <= 1.25 * p95(oracle)
    assert np.mean(found.regrets[-2000:]) < np.mean(lived("random", seed).regrets[-2000:]) / 3


def test_the_same_seed_lives_the_same_day() -> None:
    assert lived("balanced", 3).rates == lived("balanced", 3).rates
