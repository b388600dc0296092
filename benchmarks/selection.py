"""Strategies of choosing a model, in simulated time: `python -m benchmarks.selection [--requests N] [--seeds 1 2 3]`.

Five models drift in speed and failures, die and come back (`selection_world.py`); requests come at random, and what is
learned of a model comes with the end of each, as in the service (`selection_run.py`). Every strategy meets the same
world. `random` draws an order; `oracle` knows how every model is, and whether it will die over this request, and goes
by what `balanced` goes by; `oracle of fastest` goes by time alone. Neither knows the dice.

Writes numbers and a plot into `results/`, and fails where `balanced` is not as good as it must be.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.report import RESULTS, ROOT, stamp
from benchmarks.selection_plot import plot
from benchmarks.selection_run import WAYS, Found, Run, Way
from benchmarks.selection_world import World

PARTS = 10
MIN_SUCCESS, MOST_P95 = 0.99, 1.15
EARLY = (0, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
"""Requests between which regret is told."""


def main() -> None:
    """Run every strategy with every seed, print a table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--share", type=float, default=0.3, help="of the requests and days, for all seeds but the first"
    )
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    shares = [(seed, given.share if number else 1.0) for number, seed in enumerate(given.seeds)]
    tasks = [(way, seed, int(given.requests * share), given.days * share) for seed, share in shares for way in WAYS]
    stamped = stamp(["numpy"])
    with concurrent.futures.ProcessPoolExecutor(given.processes) as pool:
        runs = list(pool.map(_measured, *zip(*tasks, strict=True)))
    _compare(runs)
    print(_table(runs))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"selection-{stamped['date'][:10]}-{stamped['commit']}.json"
    report = {"stamp": stamped, "edges": EARLY, "runs": runs}
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    first = [run for run in runs if run["seed"] == given.seeds[0]]
    path.with_suffix(".svg").write_text(plot(first, EARLY), encoding="utf-8")
    print(f"\nWritten to {path.relative_to(ROOT)}")
    _require(runs)


def _require(runs: Sequence[dict[str, Any]]) -> None:
    """End with an error where `balanced` is not as good as it must be."""
    balanced = [run for run in runs if run["way"] == "balanced"]
    early, late = (float(np.mean([run["regret"][place] for run in balanced])) for place in (0, -1))
    checks = [
        *((run["success"] >= MIN_SUCCESS, f"success {run['success']:.4f}") for run in balanced),
        *((run["p95_of_oracle"] <= MOST_P95, f"p95 {run['p95_of_oracle']:.3f} of the oracle's") for run in balanced),
        (late < early / 2, f"regret {early:.3f} at first and {late:.3f} at last"),
    ]
    missed = [what for is_met, what in checks if not is_met]
    if missed:
        raise SystemExit(f"balanced misses what is asked of it: {'; '.join(missed)}")


def _measured(way: Way, seed: int, requests: int, days: float) -> dict[str, Any]:
    seconds = days * 86_400
    world, began = World(seconds=seconds, seed=seed), time.process_time()
    found = Run(world, way, seed=seed).run(requests, seconds=seconds)
    return {"way": way, "seed": seed, "requests": requests, **_facts(found), "cpu_seconds": time.process_time() - began}


def _facts(found: Found) -> dict[str, Any]:
    """Return the numbers of a run; of times and success those after the first tenth, when drift is what there is."""
    rates, costs = np.array(found.rates), np.array(found.costs)
    outcomes, regrets = np.frombuffer(bytes(found.outcomes), dtype=np.uint8), np.array(found.regrets)
    late = slice(len(rates) // PARTS, None)
    made = outcomes[late] == 1
    edges = [edge for edge in EARLY if edge < len(regrets)] + [len(regrets)]
    return {
        "success": float(made.sum() / (outcomes[late] != 2).sum()),
        "mean_seconds_a_second": float(rates[late][made].mean()),
        "p95_seconds_a_second": float(np.quantile(rates[late][made], 0.95)),
        "cost": float(costs[late][made].mean()),
        "regret": [float(regrets[begin:end].mean()) for begin, end in itertools.pairwise(edges)],
        "regret_mean": float(regrets.mean()),
        "first": [count / len(rates) for count in found.first],
    }


def _compare(runs: Sequence[dict[str, Any]]) -> None:
    """Add how each p95 compares with the oracles' of the same world, and with that of `ordered`."""
    for run in runs:
        for other, name in (
            ("oracle", "p95_of_oracle"),
            ("oracle of fastest", "p95_of_fastest"),
            ("ordered", "p95_of_ordered"),
        ):
            (it,) = (one for one in runs if one["seed"] == run["seed"] and one["way"] == other)
            run[name] = run["p95_seconds_a_second"] / it["p95_seconds_a_second"]


def _table(runs: Sequence[dict[str, Any]]) -> str:
    rows = [
        "| seed | way | success | mean | p95 | p95 / oracle | p95 / ordered | cost | regret first 30 | last |",
        "|--:|---|" + "--:|" * 8,
    ]
    rows += [
        f"| {run['seed']} | {run['way']} | {run['success']:.4f} | {run['mean_seconds_a_second']:.2f} |"
        f" {run['p95_seconds_a_second']:.2f} | {run['p95_of_oracle']:.3f} | {run['p95_of_ordered']:.3f} |"
        f" {run['cost']:.4f} | {run['regret'][0]:.3f} | {run['regret'][-1]:.3f} |"
        for run in runs
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    main()
