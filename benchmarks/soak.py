"""Mixed traffic against a whole service, with faults: what grows, and what is lost.

    python benchmarks/soak.py [--minutes 30] [--people 12] [--seed 1]

The service is `cinelet serve` with its workers and its own PostgreSQL; an engine that fails now and then and a receiver
of webhooks are a process beside it. In the middle third workers are killed and frozen, and the database ends all its
connections. Prints Markdown tables, writes them to `benchmarks/results/`, and fails where something is not within.
Needs the extras `local`, `serve` and `dev`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import httpx2
import psutil

if TYPE_CHECKING:
    from benchmarks.report import Row
    from benchmarks.soak_traffic import Ledger
    from benchmarks.soak_watch import Watch
    from cinelet.jobs.durable import DurableJobs

FAULTS_FROM, FAULTS_TO = 1 / 3, 2 / 3
"""The part of the time in which the soak itself does harm."""
FAULT_SECONDS = 12.0
FROZEN_SECONDS = 3.0
END_SECONDS = 90.0
"""What all that was promised has to end, once nobody asks any more."""
STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How much. people: who ask at the same time; local_share: how often for a video that is made here, of about 30."""

    minutes: float = 30.0
    people: int = 12
    seed: int = 1
    local_share: float = 0.5


def soak(scale: Scale) -> dict[str, list[Row]]:
    """Run it; return the tables by name."""
    from benchmarks.gateway_place import free_port, serving
    from benchmarks.jobs_place import environment, place

    with place() as folder, world(scale.seed) as (port, asked):
        data = folder / "data"
        data.mkdir()
        variables = {
            **environment(data),
            "CINELET_WEBHOOK_ALLOW_PRIVATE": "1",
            "CINELET_CACHE_SIZE": "20000000",
            "CINELET_PRELOAD": "embedded",
            "OMP_NUM_THREADS": "1",
        }
        own = free_port()
        command = [sys.executable, "-m", "cinelet", "serve", "--port", str(own)]
        log = folder / "log"
        with serving(command, own, "/readyz", variables=variables, log=log) as (process, _):
            found = asyncio.run(_soaked(scale, process, data, port=own, engine=f"http://127.0.0.1:{port}"))
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            with suppress(psutil.NoSuchProcess):
                process.wait(STOP_SECONDS)
            stopped = time.monotonic() - began
        found.finish(asked(), data, log.read_text(errors="replace"), stopped)
        return found.tables()


@contextmanager
def world(seed: int) -> Iterator[tuple[int, Any]]:
    """Start what is around the service; give its port, and what ends it and tells what it was asked."""
    program = str(Path(__file__).with_name("soak_engine.py"))
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, program, json.dumps({"seed": seed})], stdin=pipe, stdout=pipe, text=True
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101  (it has a pipe)
            yield int(process.stdout.readline()), lambda: json.loads(process.communicate()[0])
        finally:
            process.kill()


class Findings:
    """What is found, and the tables of it."""

    def __init__(self, ledger: Ledger, watch: Watch, harm: Counter[str]) -> None:
        self._ledger = ledger
        self._watch = watch
        self._harm = harm
        self.states: Mapping[str, str] = {}
        self.claims: Mapping[str, str] = {}
        self.failures: Counter[str] = Counter()
        self.undelivered = 0
        self.damaged = 0
        self.to_the_end = 0.0
        self._rows: list[Row] = []

    async def look(self, jobs: DurableJobs) -> None:
        """Read what became of everything."""
        async with jobs.database.connection() as connection:
            rows = await connection.execute("SELECT id, state, error, result, attempt, crashes FROM generations")
            found = await rows.fetchall()
            rows = await connection.execute("SELECT count(*) FROM webhook_deliveries WHERE state NOT IN ('delivered')")
            (self.undelivered,) = await rows.fetchone() or (0,)
        self.states = {name: state for name, state, *_ in found}
        self.claims = {name: f"{claims} claims, {crashes} crashes" for name, *_, claims, crashes in found}
        self.failures = Counter(error["code"] for _, _, error, *_ in found if error is not None)
        blobs = {result["blob"] for _, _, _, result, *_ in found if result is not None}
        self.damaged = sum(not _is_whole(jobs.store.local_path(blob)) for blob in blobs)

    def finish(self, asked: Mapping[str, Any], data: Path, log: str, stopped: float) -> None:
        """Count what is wrong, when all has ended."""
        from benchmarks.jobs_place import server_processes

        ledger = self._ledger
        kept = [name for name in ledger.promised if name not in ledger.deleted]
        left = [one for one in self._watch.known.values() if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        temporary = data / "temporary"
        # What is deleted before its webhook could be sent is told to nobody.
        by_prompt = {prompt: name for name, prompt in ledger.promised.items()}
        # Of twins the second may be paid for where the first has failed.
        twice = [prompt for prompt, count in asked["taken"].items() if count > 1 and "twins" not in prompt]
        self._twice = [
            f"{prompt}: {name} {self.states.get(name)} {self.claims.get(name)}"
            for prompt in twice
            for name in [by_prompt.get(prompt, "nobody's")]
        ]
        unheard = ledger.hooked - ledger.deleted - set(asked["heard"])
        counts = {
            "promised and not there": sum(name not in self.states for name in kept),
            "promised and not ended": sum(self.states.get(name) in {"queued", "in_progress"} for name in kept),
            "paid twice": len(twice),
            "webhooks not heard of": len(unheard),
            "webhooks not delivered": self.undelivered,
            "videos damaged": self.damaged,
            "answers that were wrong": len(ledger.wrong),
            "tracebacks in the log": log.count("Traceback (most recent call last)"),
            "processes left": len(left) + len(server_processes(data)),
            "folders left": sum(path.name.startswith("cinelet-") for path in temporary.iterdir()),
        }
        self._rows = [
            {"what": what, "count": count, "allowed": 0, "within": not count} for what, count in counts.items()
        ]
        for what, seconds, allowed in (
            ("seconds until all had ended", self.to_the_end, END_SECONDS),
            ("seconds to stop", stopped, STOP_SECONDS),
        ):
            self._rows.append({"what": what, "count": seconds, "allowed": allowed, "within": seconds <= allowed})
        self._asked = asked

    def tables(self) -> dict[str, list[Row]]:
        """Return what there was, what was lost, and what grew."""
        ended = Counter(self.states.values())
        there_was = {
            **{f"done: {name}": count for name, count in self._ledger.done.items()},
            **{f"generations {state}": count for state, count in ended.items()},
            **{f"failed: {code}": count for code, count in self.failures.items()},
            **{f"fault: {fault}": count for fault, count in self._asked["faults"].items()},
            **{f"harm: {harm}": count for harm, count in self._harm.items()},
            **{f"unanswered: {what}": count for what, count in self._ledger.unanswered.most_common(12)},
            **{f"paid twice: {what}": 1 for what in self._twice},
            **{f"wrong: {what}": count for what, count in Counter(self._ledger.wrong).most_common(12)},
        }
        return {
            "traffic": [{"what": what, "count": count} for what, count in there_was.items()],
            "lost": self._rows,
            "growth": self._watch.verdicts(),
        }


async def _soaked(scale: Scale, service: psutil.Process, data: Path, *, port: int, engine: str) -> Findings:
    from benchmarks.jobs_place import config, until, value
    from benchmarks.soak_traffic import People
    from benchmarks.soak_watch import Watch
    from cinelet.assembly import durable_jobs

    watch = Watch(service, data)
    random = Random(scale.seed)
    end = time.monotonic() + scale.minutes * 60
    harm: Counter[str] = Counter()
    limits = httpx2.Limits(max_connections=4 * scale.people)
    async with (
        durable_jobs(config(data)) as jobs,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits) as client,
    ):
        people = People(client, engine=engine, random=random, local_share=scale.local_share)
        looking = asyncio.create_task(watch.run())
        harming = asyncio.create_task(_harm(scale, watch, jobs, random, harm))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(scale.people):
                    group.create_task(people.live(lambda: time.monotonic() > end))
            began = time.monotonic()

            async def all_ended() -> bool:
                unfinished = "SELECT count(*) FROM generations WHERE state IN ('queued', 'in_progress')"
                waiting = "SELECT count(*) FROM webhook_deliveries WHERE state NOT IN ('delivered')"
                return not await value(jobs.database, unfinished) and not await value(jobs.database, waiting)

            with suppress(TimeoutError):
                await until(all_ended, seconds=END_SECONDS)
        finally:
            for task in (looking, harming):
                task.cancel()
            await asyncio.gather(looking, harming, return_exceptions=True)
        found = Findings(people.ledger, watch, harm)
        found.to_the_end = time.monotonic() - began
        await found.look(jobs)
        return found


async def _harm(scale: Scale, watch: Watch, jobs: DurableJobs, random: Random, done: Counter[str]) -> None:
    """Kill, freeze and cut off, one thing after another, in the middle of the time."""
    whole = scale.minutes * 60
    await asyncio.sleep(whole * FAULTS_FROM)
    end = time.monotonic() + whole * (FAULTS_TO - FAULTS_FROM)
    while time.monotonic() < end:
        what = random.choice(["kill remote", "kill local", "freeze remote", "end connections"])
        done[what] += 1
        verb, _, role = what.partition(" ")
        worker = watch.roles().get(role)
        with suppress(psutil.Error):
            if verb == "end":
                async with jobs.database.connection() as connection:
                    await connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                        " AND backend_type = 'client backend'"
                    )
            elif worker is not None and verb == "kill":
                worker.kill()
            elif worker is not None:
                worker.suspend()
                await asyncio.sleep(FROZEN_SECONDS)
                worker.resume()
        await asyncio.sleep(random.uniform(0.5, 1.5) * FAULT_SECONDS)


def _is_whole(path: Path | None) -> bool:
    return path is not None and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == path.stem


def main() -> int:
    """Soak, tell, and fail where something is not within."""
    from benchmarks.report import publish

    parser = argparse.ArgumentParser(description="Mixed traffic against a whole service, with faults.")
    for name, of in (("minutes", float), ("people", int), ("seed", int), ("local-share", float)):
        parser.add_argument(f"--{name}", type=of, default=getattr(Scale(), name.replace("-", "_")))
    scale = Scale(**vars(parser.parse_args()))
    tables: dict[str, list[Row]] = {}

    def traffic(_: Scale) -> list[Row]:
        """Say what was done, what became of it, and which faults there were."""
        tables.update(soak(scale))
        return tables["traffic"]

    def lost(_: Scale) -> list[Row]:
        """Say what must not be: all that was promised is there, has ended, and was paid for once."""
        return tables["lost"]

    def growth(_: Scale) -> list[Row]:
        """Compare each process late in its life with how it was before, by medians of a fifth of its life each."""
        return tables["growth"]

    sections = {"traffic": traffic, "lost": lost, "growth": growth}
    publish("soak", sections, scale, settings=asdict(scale), packages=("cinelet", "fastapi", "httpx2", "procrastinate"))
    outside = [row for name in ("lost", "growth") for row in tables[name] if not row["within"]]
    return 1 if outside else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
