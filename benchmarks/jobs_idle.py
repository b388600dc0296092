"""The sections `pickup` and `idle` of `jobs.py`: how soon a worker that waits begins, and what its waiting costs."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

import psutil

from benchmarks.jobs_place import (
    CONCURRENCY,
    OURS,
    PLAIN,
    Scale,
    beside,
    config,
    cpu_seconds,
    environment,
    percentile,
    plain,
    server_processes,
)
from benchmarks.jobs_rates import defer, submit

if TYPE_CHECKING:
    from benchmarks.report import Row

ALLOWED_PICKUP_SECONDS = 0.02
ALLOWED_IDLE_SHARE = 0.01
SETTLING_SECONDS = 3
RANDOM = SystemRandom()


async def picked_up(folder: Path, *, scale: Scale) -> list[Row]:
    """Submit to workers that wait, now and then."""
    from cinelet.assembly import durable_jobs

    rows: list[Row] = []
    async with plain(folder) as theirs, durable_jobs(config(folder)) as jobs:
        for how, at_once in (("one", 1), ("two close together", 2)):
            for name, role in ((OURS, "worker"), (PLAIN, "plain")):
                calls = {OURS: partial(submit, jobs), PLAIN: partial(defer, theirs)}
                async with beside(role, folder, concurrency=CONCURRENCY) as process:
                    await process.ready()
                    process.go()
                    await asyncio.sleep(SETTLING_SECONDS)
                    called, committed = await _spread(calls[name], count=scale.pickups, at_once=at_once)
                    starts = {int(known.split()[-1]): at for known, at in (await process.ended()).items()}
                late = [1000 * max(0.0, starts[number] - at) for number, at in committed.items()]
                whole = [1000 * (starts[number] - at) for number, at in called.items()]
                rows.append(
                    {
                        "requests": how,
                        "queue": name,
                        "from the commit: p50 ms": percentile(late, 0.5),
                        "p99 ms": percentile(late, 0.99),
                        "max ms": max(late),
                        "from the call: p50 ms": percentile(whole, 0.5),
                        "within": percentile(late, 0.5) <= 1000 * ALLOWED_PICKUP_SECONDS,
                    }
                )
    return rows


async def _spread(
    call: Callable[[int], Awaitable[None]], *, count: int, at_once: int
) -> tuple[dict[int, float], dict[int, float]]:
    """Call with numbers, so many close together and then a pause; return when each was called and when it returned."""
    called: dict[int, float] = {}
    committed: dict[int, float] = {}

    async def one(number: int, delay: float) -> None:
        await asyncio.sleep(delay)
        called[number] = time.monotonic()
        await call(number)
        committed[number] = time.monotonic()

    for first in range(0, count, at_once):
        delays = [0.0, *(RANDOM.uniform(0, 0.01) for _ in range(at_once - 1))]
        await asyncio.gather(*(one(first + index, delay) for index, delay in enumerate(delays)))
        await asyncio.sleep(RANDOM.uniform(0.1, 0.2))
    await asyncio.sleep(SETTLING_SECONDS)
    return called, committed


async def idled(folder: Path, *, scale: Scale) -> list[Row]:
    """Let workers wait, one after the other."""
    from cinelet.assembly import open_database

    rows: list[Row] = []

    async def row(name: str, process: psutil.Process | None) -> Row:
        await asyncio.sleep(SETTLING_SECONDS)
        worker, server = await _cpu_shares(process, folder, seconds=scale.idle_seconds)
        return {
            "process": name,
            "% of a core": 100 * worker,
            "PostgreSQL's %": 100 * server,
            "within": worker <= ALLOWED_IDLE_SHARE,
        }

    async with await open_database(config(folder)):
        rows.append(await row("none", None))
        command = [sys.executable, "-m", "cinelet", "worker"]
        started = await asyncio.create_subprocess_exec(
            *command, env=environment(folder), stderr=asyncio.subprocess.PIPE
        )
        try:
            assert started.stderr is not None  # noqa: S101  (it has a pipe)
            await started.stderr.readline()
            ours = await row("cinelet worker", psutil.Process(started.pid))
            began = time.perf_counter()
            started.send_signal(signal.SIGTERM)
            await started.wait()
            rows.append({**ours, "stops in s": time.perf_counter() - began})
        finally:
            if started.returncode is None:
                started.kill()
                await started.wait()
        async with plain(folder), beside("plain", folder, concurrency=CONCURRENCY) as process:
            await process.ready()
            process.go()
            rows.append(await row("plain worker", psutil.Process(process.process.pid)))
            await process.ended()
    return [{**found, "stops in s": found.get("stops in s", "")} for found in rows]


async def _cpu_shares(process: psutil.Process | None, folder: Path, *, seconds: float) -> tuple[float, float]:
    """Return the shares of a core that a process with its children took, and the server of the folder."""

    def now() -> tuple[float, float, float]:
        ours = [] if process is None else [process, *process.children(recursive=True)]
        return cpu_seconds(ours), cpu_seconds(server_processes(folder)), time.perf_counter()

    before = now()
    await asyncio.sleep(seconds)
    worker, server, took = (after - earlier for earlier, after in zip(before, now(), strict=True))
    return worker / took, server / took
