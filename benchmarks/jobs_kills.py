"""The section `kills` of `jobs.py`: workers that are killed at random moments, and what becomes of paid work."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.jobs_place import Scale, beside, config, request, until, value
from benchmarks.remote import hosts

if TYPE_CHECKING:
    from benchmarks.report import Row
    from cinelet.jobs.durable import DurableJobs

AT_ONCE = 60
WORKERS = 4
CONCURRENCY = 20
MAX_LIFE_SECONDS = 2.0
JOB_SECONDS = 3.0
ALLOWED_SECONDS = 60
LIMIT_SECONDS = 90
SECOND_ROW_SHARE = 0.1
"""Of the kills."""
RANDOM = SystemRandom()

HURRIED = {
    "cinelet.jobs.engine.HEARTBEAT_SECONDS": 0.5,
    "cinelet.jobs.engine.STALLED_SECONDS": 3.0,
    "cinelet.jobs.sweep.STALLED_SECONDS": 3.0,
    "cinelet.jobs.worker.SWEEP_SECONDS": 1.0,
}
PATIENT = {"cinelet.jobs.worker.MAX_CRASHES": 1_000_000}
"""A generation may lose any number of workers."""
UNFINISHED = "SELECT count(*) FROM generations WHERE state IN ('queued', 'in_progress')"


async def killed(folder: Path, *, scale: Scale) -> list[Row]:
    """Kill workers, with and without the limit of crashes."""
    rows = []
    for limit, kills, constants in (
        ("any", scale.kills, HURRIED | PATIENT),
        ("3", max(1, round(SECOND_ROW_SHARE * scale.kills)), HURRIED),
    ):
        at = folder / f"crashes-{limit}"
        at.mkdir()
        pace = {"queued_polls": 0, "running_polls": 0, "seconds": JOB_SECONDS}
        with hosts(pace=pace) as internet:
            row = await _killed(at, internet.port, kills=kills, constants=constants, seconds=scale.kill_seconds)
        paid_twice = internet.counts["paid_twice"]
        within = row.pop("within") and not paid_twice
        rows.append(
            {
                "crashes allowed": limit,
                **row,
                "paid": internet.counts["paid"],
                "paid twice": paid_twice,
                "within": within,
            }
        )
    return rows


async def _killed(folder: Path, port: int, *, kills: int, constants: dict[str, Any], seconds: float) -> Row:
    from cinelet.assembly import durable_jobs

    specification = {"port": port, "concurrency": CONCURRENCY, "constants": constants}
    done = 0
    began = time.monotonic()

    async def killing() -> None:
        nonlocal done
        while done < kills and time.monotonic() < began + seconds:
            async with beside("paid", folder, **specification) as worker:
                await worker.ready()
                worker.go()
                await asyncio.sleep(RANDOM.uniform(0, MAX_LIFE_SECONDS))
                await worker.kill()
            done += 1

    async with durable_jobs(config(folder)) as jobs:
        filling = asyncio.create_task(_keep_busy(jobs))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(killing())
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)
        unfinished = await value(jobs.database, UNFINISHED)
        async with beside("paid", folder, **specification) as worker:
            await worker.ready()
            worker.go()
            restarted = time.monotonic()

            async def all_ended() -> bool:
                return bool(await value(jobs.database, UNFINISHED) == 0)

            with suppress(TimeoutError):
                await until(all_ended, seconds=LIMIT_SECONDS)
            to_the_end = time.monotonic() - restarted
            await worker.ended()
        found = await _found(jobs, folder)
    return {
        "kills": done,
        "unfinished at the last restart": unfinished,
        **found,
        "to the end s": to_the_end,
        "within": not any(found[name] for name in ("lost", "videos damaged", "processes left"))
        and to_the_end <= ALLOWED_SECONDS,
    }


async def _keep_busy(jobs: DurableJobs) -> None:
    """Submit a new generation for each that has ended."""
    from tests.fake_providers import T2V_MODEL

    numbers = itertools.count()
    while True:
        for _ in range(AT_ONCE - await value(jobs.database, UNFINISHED)):
            await jobs.queue.submit(request(next(numbers), model=f"hf:{T2V_MODEL}:fal-ai"))
        await asyncio.sleep(0.2)


async def _found(jobs: DurableJobs, folder: Path) -> Row:
    """Count what became of the generations, and what is left behind."""
    async with jobs.database.connection() as connection:
        counted = await connection.execute(
            "SELECT state, error ->> 'code', result ->> 'blob', count(*), sum(crashes) FROM generations"
            " GROUP BY 1, 2, 3"
        )
        groups = await counted.fetchall()
        worst = await value(jobs.database, "SELECT max(crashes) FROM generations")
    blobs = {blob for _, _, blob, _, _ in groups if blob is not None}
    damaged = sum(not _is_whole(jobs.store.local_path(blob)) for blob in blobs)

    def count(*states: str, code: str | None = None) -> int:
        return sum(number for state, found, _, number, _ in groups if state in states and code in {None, found})

    doubted = count("failed", code="submission_unknown")
    temporary = folder / "temporary"
    return {
        "generations": sum(number for *_, number, _ in groups),
        "completed": count("completed"),
        "in doubt": doubted,
        "failed": count("failed", "cancelled") - doubted,
        "lost": count("queued", "in_progress"),
        "crashes": sum(crashes for *_, crashes in groups),
        "of one": worst,
        "videos damaged": damaged,
        "processes left": await _left(temporary),
        "folders left": sum(path.name.startswith("cinelet-") for path in temporary.iterdir()),
    }


def _is_whole(path: Path | None) -> bool:
    return path is not None and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == path.stem


async def _left(temporary: Path) -> int:
    """Count the processes of killed workers that go on, and end them."""
    await asyncio.sleep(2)
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(temporary):
                left.append(process)
    # The server was started by one of the workers, and is used by us.
    left = [process for process in left if not process.name().startswith("postgres")]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return len(left)
