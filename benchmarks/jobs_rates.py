"""The sections `accept` and `throughput` of `jobs.py`: how many jobs a second go in, and how many come out."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks.jobs_place import (
    CONCURRENCY,
    MODEL,
    OURS,
    PLAIN,
    Plain,
    Scale,
    beside,
    config,
    cpu_seconds,
    emptied,
    percentile,
    plain,
    request,
    server_processes,
    until,
    value,
)

if TYPE_CHECKING:
    from benchmarks.report import Row
    from cinelet.jobs.database import Database
    from cinelet.jobs.durable import DurableJobs

STORING = "cinelet, storing"
ALLOWED_RATIO = 0.6
CONNECTIONS = 10
"""Of each queue. The service that accepts has 20, a worker 4."""
LIMIT_SECONDS = 60

COUNT = "SELECT count(*) FROM ({}) ended (at)"
SPAN = "SELECT extract(epoch FROM max(at) - min(at))::float FROM ({}) ended (at)"


@dataclass(frozen=True, slots=True)
class Calls:
    """How long many calls took, in seconds: all of them, and each; and the CPU time of this process and the server."""

    seconds: float
    each: Sequence[float]
    client_cpu_seconds: float
    server_cpu_seconds: float

    @property
    def rate(self) -> float:
        """How many ended in a second."""
        return len(self.each) / self.seconds


async def accepted(folder: Path, *, scale: Scale) -> list[Row]:
    """Let clients submit to both queues in turn."""
    from cinelet.assembly import durable_jobs

    rows: list[Row] = []
    async with plain(folder) as theirs, durable_jobs(config(folder), max_connections=CONNECTIONS) as jobs:
        calls = {OURS: partial(submit, jobs), PLAIN: partial(defer, theirs)}
        for clients, waiting in ((1, 0), (16, 0), (16, scale.waiting)):
            runs: dict[str, list[Calls]] = {name: [] for name in calls}
            for name in (*calls,) * scale.repeats:
                await _queue(name, waiting, database=jobs.database, theirs=theirs)
                await _called(calls[name], clients=clients, count=2 * clients, folder=folder)
                run = await _called(calls[name], clients=clients, count=scale.accepted, folder=folder)
                runs[name].append(run)
            best = {name: max(found, key=lambda run: run.rate) for name, found in runs.items()}
            for name, run in best.items():
                ratio = run.rate / best[PLAIN].rate
                rows.append(
                    {
                        "clients": clients,
                        "waiting": waiting,
                        "queue": name,
                        "a second": run.rate,
                        "p50 ms": 1000 * percentile(run.each, 0.5),
                        "p99 ms": 1000 * percentile(run.each, 0.99),
                        "CPU ms each": 1000 * run.client_cpu_seconds / len(run.each),
                        "PostgreSQL's": 1000 * run.server_cpu_seconds / len(run.each),
                        "x plain": ratio,
                        "within": ratio >= ALLOWED_RATIO,
                        "all runs": ", ".join(f"{found.rate:.0f}" for found in runs[name]),
                    }
                )
    return rows


async def submit(jobs: DurableJobs, number: int) -> None:
    """Submit a request through cinelet's door."""
    # With a seed, so that it has a cache key, and is compared with what is in flight.
    await jobs.queue.submit(request(number, seed=number))


async def defer(theirs: Plain, number: int) -> None:
    """Defer a job with plain Procrastinate."""
    await theirs.task.defer_async(number=number)


async def _called(call: Callable[[int], Awaitable[None]], *, clients: int, count: int, folder: Path) -> Calls:
    """Let the clients make so many calls in all, each its next one when its last one has ended."""
    numbers = iter(random.sample(range(2**31), count))
    each: list[float] = []

    async def client() -> None:
        for number in numbers:
            began = time.perf_counter()
            await call(number)
            each.append(time.perf_counter() - began)

    client_before, server_before = time.process_time(), cpu_seconds(server_processes(folder))
    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds, client_cpu = time.perf_counter() - began, time.process_time() - client_before
    return Calls(seconds, each, client_cpu, cpu_seconds(server_processes(folder)) - server_before)


async def _queue(name: str, count: int, *, database: Database, theirs: Plain) -> None:
    """Remove every job, and queue so many new ones in one transaction."""
    from cinelet.jobs.ledger import JobLedger

    await emptied(database, theirs.database)
    if name == PLAIN:
        await theirs.task.batch_defer_async(*({"number": number} for number in range(count)))
        return
    ledger = JobLedger(database)
    async with database.connection() as connection, connection.transaction():
        for number in range(count):
            stored = request(number).model_dump(mode="json", exclude={"image"}, exclude_defaults=True)
            await ledger.insert(stored, owner="local", requested_model=MODEL, connection=connection)


async def worked(folder: Path, *, scale: Scale) -> list[Row]:
    """Let workers of both queues do what was queued before, in turn."""
    from cinelet.assembly import open_database

    rows: list[Row] = []
    # Nobody watches: what is announced goes to the workers only, on both sides.
    async with plain(folder) as theirs, await open_database(config(folder)) as database:
        for workers in scale.workers:
            runs: dict[str, list[Row]] = {OURS: [], PLAIN: [], STORING: []}
            for name in (*runs,) * scale.repeats:
                run = await _worked(name, scale.jobs, workers=workers, folder=folder, database=database, theirs=theirs)
                runs[name].append(run)
            best = {name: max(found, key=lambda run: run["jobs a second"]) for name, found in runs.items()}
            for name, run in best.items():
                ratio = run["jobs a second"] / best[PLAIN]["jobs a second"]
                rates = ", ".join(f"{found['jobs a second']:.0f}" for found in runs[name])
                within = (ratio >= ALLOWED_RATIO or name == STORING) and run["done"] == run["jobs"]
                compared = {"x plain": ratio, "within": within, "all runs": rates}
                rows.append({"workers": workers, "queue": name, **run, **compared})
    return rows


async def _worked(name: str, count: int, *, workers: int, folder: Path, database: Database, theirs: Plain) -> Row:
    """Queue jobs, let workers do them, and return how many they did in a second, and the CPU time of each job."""
    await _queue(name, count, database=database, theirs=theirs)
    if name == PLAIN:
        where, source = theirs.database, "SELECT at FROM procrastinate_events WHERE type = 'succeeded'"
    else:
        where, source = database, "SELECT finished_at FROM generations WHERE state = 'completed'"
    role, more = ("plain", {}) if name == PLAIN else ("worker", {"own_files": name == STORING})

    async def done() -> bool:
        return bool(await value(where, COUNT.format(source)) == count)

    async with AsyncExitStack() as stack:
        started = [
            await stack.enter_async_context(beside(role, folder, concurrency=CONCURRENCY, **more))
            for _ in range(workers)
        ]
        for process in started:
            await process.ready()
        processes = [psutil.Process(process.process.pid) for process in started]
        before = cpu_seconds(processes), cpu_seconds(server_processes(folder))
        for process in started:
            process.go()
        with suppress(TimeoutError):  # how many were done is in the table; who hangs is killed
            await until(done, seconds=LIMIT_SECONDS)
        after = cpu_seconds(processes), cpu_seconds(server_processes(folder))
        if await done():
            for process in started:
                await process.ended()
    ended, seconds = await value(where, COUNT.format(source)), await value(where, SPAN.format(source))
    return {
        "jobs": count,
        "done": ended,
        "jobs a second": (ended - 1) / seconds if ended > 1 else 0.0,
        "CPU ms a job": 1000 * (after[0] - before[0]) / count,
        "PostgreSQL's": 1000 * (after[1] - before[1]) / count,
    }
