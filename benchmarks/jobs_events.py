"""The section `events` of `jobs.py`: many generations that report their steps, and those who hear of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.jobs_place import (
    Scale,
    beside,
    config,
    cpu_seconds,
    percentile,
    request,
    server_processes,
    until,
    value,
)

if TYPE_CHECKING:
    from benchmarks.report import Row
    from cinelet.jobs.durable import DurableJobs

ALLOWED_WRITES = 4.0
ALLOWED_SECONDS = 0.1
LIMIT_SECONDS = 200
WATCHERS = 100

WRITES = """
SELECT avg(rate)::float, max(rate)::float, max(most)::int, sum(writes)::int FROM (
    SELECT
        generation_id,
        count(*) AS writes,
        (count(*) - 1) / extract(epoch FROM max(at) - min(at)) AS rate,
        max(in_a_second) AS most
    FROM (
        SELECT generation_id, at, count(*) OVER (
            PARTITION BY generation_id ORDER BY at RANGE BETWEEN interval '1 second' PRECEDING AND CURRENT ROW
        ) AS in_a_second
        FROM generation_events WHERE data ->> 'state' = 'in_progress'
    ) AS writes
    GROUP BY generation_id HAVING count(*) > 1
) AS generations_with_writes
"""
"""Writes a second of a generation on average, of the busiest one, the most within any second, and how many in all."""
LISTENERS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND query LIKE 'LISTEN%%'"


async def heard(folder: Path, *, scale: Scale) -> list[Row]:
    """Let generations report, and measure who hears what when."""
    from cinelet.assembly import durable_jobs

    async with durable_jobs(config(folder)) as jobs:
        one, many = await _listeners(jobs)
        inserted = [await jobs.queue.submit(request(number)) for number in range(scale.watched)]
        ids = [found.generation.id for found in inserted]
        steps = {"steps": scale.steps, "step_seconds": scale.step_seconds}
        async with (
            beside("watcher", folder, ids=ids) as watcher,
            beside("worker", folder, concurrency=scale.watched, **steps) as worker,
        ):
            await watcher.ready()
            await worker.ready()
            processes = [psutil.Process(worker.process.pid)], server_processes(folder)
            before = [cpu_seconds(found) for found in processes]
            watcher.go()
            worker.go()

            async def done() -> bool:
                completed = "SELECT count(*) FROM generations WHERE state = 'completed'"
                return bool(await value(jobs.database, completed) == scale.watched)

            await until(done, seconds=LIMIT_SECONDS)
            processes = processes[0], server_processes(folder)
            took = [cpu_seconds(found) - earlier for found, earlier in zip(processes, before, strict=True)]
            await worker.ended()
            delays = await watcher.ended()
        async with jobs.database.connection() as connection:
            rates = await (await connection.execute(WRITES.encode())).fetchone()
        assert rates is not None  # noqa: S101  (an aggregate)
        mean, busiest, most, writes = rates
        p99 = percentile(delays["stages"], 0.99)
        return [
            {
                "jobs": scale.watched,
                "steps": scale.steps,
                "writes a second and job": mean,
                "of the busiest": busiest,
                "most in 1 s": most,
                "worker's CPU ms a write": 1000 * took[0] / writes,
                "PostgreSQL's": 1000 * took[1] / writes,
                "stage p50 ms": 1000 * percentile(delays["stages"], 0.5),
                "stage p99 ms": 1000 * p99,
                "step p50 ms": 1000 * percentile(delays["steps"], 0.5),
                "step p99 ms": 1000 * percentile(delays["steps"], 0.99),
                "stages heard": len(delays["stages"]),
                "steps heard": len(delays["steps"]),
                "listeners": f"{one}, {many}",
                "within": busiest <= ALLOWED_WRITES and p99 <= ALLOWED_SECONDS and (one, many) == (1, 1),
            }
        ]


async def _listeners(jobs: DurableJobs) -> tuple[int, int]:
    """Return how many connections listen for one watcher of a generation, and for a hundred."""
    watched = (await jobs.queue.submit(request(-1))).generation
    counts = []
    for watchers in (1, WATCHERS):
        watching = [asyncio.create_task(_watch(jobs, watched.id)) for _ in range(watchers)]
        await asyncio.sleep(1)
        counts.append(await value(jobs.database, LISTENERS))
        if watchers > 1:
            await jobs.ledger.request_cancel(watched.id)
            heard_by = await asyncio.gather(*watching)
            if not all(heard_by):
                raise RuntimeError("Not every watcher heard of the end")
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    return counts[0], counts[1]


async def _watch(jobs: DurableJobs, generation_id: str) -> Any:
    states = [event.state async for event in jobs.events.watch(generation_id)]
    return states and states[-1].final
