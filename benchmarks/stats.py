"""How long statistics and budgets take to be told, of as much as a busy service has.

    python benchmarks/stats.py [--quick] [--only told admitted]

On a private server in a temporary folder. Prints Markdown tables and writes them with all numbers to
`benchmarks/results/`, stamped with machine and commit.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.report import Row
    from cinelet.jobs.database import Database

WITHIN_SECONDS = 0.1
MODELS, OWNERS = 10, 5


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. outcomes: in a day; generations: of one owner in a day; repeats: of each question."""

    outcomes: int
    generations: int
    repeats: int


FULL = Scale(outcomes=1_000_000, generations=10_000, repeats=9)
QUICK = Scale(outcomes=50_000, generations=1000, repeats=3)

_OUTCOMES = (
    "INSERT INTO outcomes (at, generation_id, owner, requested_model, model, provider, task, succeeded, code, seconds,"
    " queue_seconds, video_seconds, cost, currency)"
    " SELECT clock_timestamp() - make_interval(secs => 86400.0 * n / %(rows)s), 'gen_' || n,"
    " 'owner' || n %% %(owners)s, 'org/model', 'hf:org/model-' || n %% %(models)s || ':fal-ai', 'fal-ai',"
    " 'text-to-video', n %% 20 > 0, CASE WHEN n %% 20 = 0 THEN 'model_host_failed' END, exp(3 + random()),"
    " CASE WHEN random() < 0.9 THEN exp(4 * random()) END, 5, 0.1, 'USD' FROM generate_series(1, %(rows)s) n"
)
_EXACT = (
    "SELECT model, provider, count(*), sum(cost),"
    " percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY seconds / video_seconds),"
    " percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY queue_seconds) FROM outcomes"
    " WHERE at > clock_timestamp() - interval '1 day' GROUP BY model, provider"
)
_GENERATIONS = (
    "INSERT INTO generations (id, owner, request, requested_model, request_hash, video_seconds, charged_cost, follows)"
    " SELECT 'gen_' || n, 'ann', '{\"prompt\": \"a gull\"}', 'hf:org/model', '', 5, 0.1, 'none'"
    " FROM generate_series(1, %s) n"
)


@asynccontextmanager
async def opened() -> AsyncIterator[Database]:
    """Open a database of its own."""
    from cinelet.jobs.database import Database

    with tempfile.TemporaryDirectory(prefix="cinelet-bench-") as folder:
        async with await Database.open(None, data_directory=Path(folder)) as database:
            yield database


async def timed(question: Callable[[], Awaitable[object]], repeats: int) -> list[float]:
    """Return the seconds that a question takes each time."""
    runs = []
    for _ in range(repeats):
        began = time.perf_counter()
        await question()
        runs.append(time.perf_counter() - began)
    return sorted(runs)


def told(scale: Scale) -> list[Row]:
    """Tell a window of a day of outcomes, of 10 models and 5 owners, and what exact percentiles of the rows would take.

    The goal: 100 ms for a million in the window.
    """
    from cinelet.jobs.statistics import statistics, write_hours

    async def asked() -> list[Row]:
        async with opened() as database:
            async with database.connection() as connection:
                await connection.execute(_OUTCOMES, {"rows": scale.outcomes, "models": MODELS, "owners": OWNERS})
                await connection.execute(
                    "UPDATE outcome_hours_until SET until = date_trunc('hour', clock_timestamp() - interval '26 hours')"
                )
                await connection.execute("ANALYZE outcomes")

                async def exactly() -> None:
                    await (await connection.execute(_EXACT)).fetchall()

                rows = [_row("exact, of the rows, 24h", scale.outcomes, await timed(exactly, scale.repeats))]
            began = time.perf_counter()
            await write_hours(database)
            rows.append(_row("to write a day of hours, once", scale.outcomes, [time.perf_counter() - began]))
            async with database.connection() as connection:
                await connection.execute("ANALYZE outcome_hours")
            for hours in (1, 24, 720):
                for owner in (None, "owner1"):
                    window = timedelta(hours=hours)
                    question = _asked(database, window, owner)
                    found = await statistics(database, window, currency="USD", owner=owner)
                    what = f"{hours}h, {'all owners' if owner is None else 'one owner'}"
                    rows.append(_row(what, found.total.attempts, await timed(question, scale.repeats)))
            return rows

    return asyncio.run(asked())


def _asked(database: Database, window: timedelta, owner: str | None) -> Callable[[], Awaitable[object]]:
    from cinelet.jobs.statistics import statistics

    return lambda: statistics(database, window, currency="USD", owner=owner)


def _row(what: str, attempts: int, runs: list[float]) -> Row:
    return {
        "what": what,
        "attempts": attempts,
        "median ms": 1000 * median(runs),
        "worst ms": 1000 * runs[-1],
        "within": median(runs) <= WITHIN_SECONDS,
    }


def admitted(scale: Scale) -> list[Row]:
    """Look whether a generation is within its key's limits, while the owner has had many in the day."""
    from cinelet.jobs.usage import within_a_day

    async def asked() -> list[Row]:
        async with opened() as database, database.connection() as connection:
            await connection.execute(_GENERATIONS, [scale.generations])
            await connection.execute("ANALYZE generations")

            async def seconds() -> None:
                await within_a_day(connection, "ann", "video_seconds", limit=1e9)

            async def cost() -> None:
                await within_a_day(connection, "ann", "cost", limit=1e9)

            questions = {"video seconds a day": seconds, "budget a day": cost}
            return [
                _row(what, scale.generations, await timed(question, scale.repeats))
                for what, question in questions.items()
            ]

    return asyncio.run(asked())


SECTIONS: Mapping[str, Callable[[Scale], list[Row]]] = {"told": told, "admitted": admitted}


def main() -> None:
    """Run the sections that were asked for."""
    from benchmarks.report import publish

    parser = argparse.ArgumentParser(description="How long statistics and budgets take to be told.")
    parser.add_argument("--quick", action="store_true", help="fewer rows and repeats")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    sections = {name: SECTIONS[name] for name in options.only}
    publish("stats", sections, scale, settings=asdict(scale), packages=("cinelet", "psycopg"))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
