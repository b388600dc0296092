"""What is relied on of Procrastinate, and how the engine bears a database that is away."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from importlib.metadata import version
from typing import Any

import psycopg
import pytest
from procrastinate import exceptions
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from procrastinate.schema import SchemaManager

from cinelet.clock import FakeClock
from cinelet.jobs import engine
from cinelet.jobs.engine import LedgersJobs, PatientConnector
from cinelet.jobs.states import State
from tests.jobs.shop import PaidBackend, Shop


def test_the_schema_of_the_engine_is_the_one_that_migration_2_was_made_with():
    known = "c70ec4b400a60ad9"
    assert version("procrastinate").startswith("3.10.")
    assert hashlib.sha256(SchemaManager.get_schema().encode()).hexdigest().startswith(known)


def test_our_triggers_enqueue_as_the_engine_itself_would(with_shop):
    async def work(shop: Shop):
        made = await shop.submit(options={"priority": 3})
        async with shop.jobs.database.connection() as connection:
            rows = await connection.execute(
                "SELECT task_name, queue_name, priority, args, status, queueing_lock FROM procrastinate_jobs"
            )
            return made, await rows.fetchall()

    made, (row,) = with_shop(work)
    args = {"generation_id": made.id, "lost_attempt": None}
    assert row == (engine.TASK, "remote", 3, args, "todo", made.id)


class Away:
    """Fails as a connector does while the database is away, so many times."""

    def __init__(self, times: int, cause: Exception) -> None:
        self.left = times
        self.cause = cause

    async def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise exceptions.ConnectorException("no") from self.cause
        return "here"


def _connector(clock: FakeClock) -> PatientConnector:
    return PatientConnector(None, clock)  # type: ignore[arg-type]  # nothing is asked of the database


def test_the_engine_asks_again_while_the_database_is_away():
    clock = FakeClock()
    assert asyncio.run(_connector(clock)._patiently(Away(8, psycopg.OperationalError("gone")))) == "here"
    assert clock.pauses_seconds == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, 2])


def test_the_engine_does_not_repeat_what_the_database_refuses():
    clock = FakeClock()
    with pytest.raises(exceptions.ConnectorException):
        asyncio.run(_connector(clock)._patiently(Away(1, psycopg.errors.UniqueViolation("twice"))))
    assert clock.pauses_seconds == []


def test_the_engine_gives_up_after_a_while(monkeypatch):
    monkeypatch.setattr(engine, "PATIENCE_SECONDS", -1)
    with pytest.raises(exceptions.ConnectorException):
        asyncio.run(_connector(FakeClock())._patiently(Away(99, psycopg.OperationalError("gone"))))


def test_a_worker_that_is_stopped_while_it_begins_ends_though_a_cancel_is_lost(with_shop, monkeypatch):
    begins = asyncio.Event()
    register = JobManager.register_worker

    async def losing(jobs: JobManager) -> int:
        # So does `asyncio.wait_for` of Python 3.11, where a cancel meets the answer.
        with contextlib.suppress(asyncio.CancelledError):
            begins.set()
            await asyncio.sleep(60)
        return await register(jobs)

    monkeypatch.setattr(JobManager, "register_worker", losing)

    async def work(shop: Shop):
        async with shop.working() as worker:
            await begins.wait()
        return worker.finished

    assert with_shop(work) == 0


def test_a_worker_takes_as_many_as_may_run_at_once_and_the_most_urgent_first(with_shop):
    async def work(shop: Shop):
        made = [await shop.submit(options={"priority": priority}) for priority in (1, 3, 2, 0, 3)]
        connector = _connector(FakeClock())
        await connector.open_async(shop.jobs.database.pool)
        jobs = LedgersJobs(connector, worker="w")
        jobs.begin("remote", concurrency=4)

        async def fetched() -> Job:
            job = await jobs.fetch_job(["remote"], 1)
            assert job is not None
            return job

        one = await fetched()
        claimed = {generation.id for generation in jobs.claimed.values()}
        others = [await fetched() for _ in range(3)]
        await jobs.finish_job(one, Status.SUCCEEDED, delete_job=True)
        last = await fetched()
        assert await jobs.fetch_job(["remote"], 1) is None
        order = [job.task_kwargs["generation_id"] for job in [one, *others, last]]
        return [generation.id for generation in made], claimed, order

    made, claimed, order = with_shop(work)
    assert order == [made[1], made[4], made[2], made[0], made[3]]
    assert claimed == set(order[:4])


def test_what_a_stopping_worker_has_taken_and_not_begun_goes_back_and_counts_as_no_crash(with_shop, monkeypatch):
    fetch = LedgersJobs.fetch_job

    async def work(shop: Shop):
        made = [await shop.submit() for _ in range(4)]
        stopped: list[Job] = []

        async def stopping(jobs: LedgersJobs, queues: list[str], worker_id: int) -> Job | None:
            job = await fetch(jobs, queues, worker_id)
            if job is not None and not stopped:
                stopped.append(job)
                worker.stop()
                await asyncio.sleep(0.5)
            return job

        monkeypatch.setattr(LedgersJobs, "fetch_job", stopping)
        async with shop.working(remote=4) as worker:
            await shop.until(made[0], lambda found: found.attempt > 0)
        between = [await shop.get(one) for one in made]
        async with shop.working(remote=4):
            return between, [await shop.ended(one) for one in made]

    between, done = with_shop(work)
    assert [one.state for one in between[1:]] == [State.QUEUED] * 3
    assert {one.worker for one in between} == {None}
    assert {(one.state, one.crashes) for one in done} == {(State.COMPLETED, 0)}


def test_a_stopping_worker_does_not_take_again_what_it_lets_go_of(with_shop, monkeypatch):
    ask, backend = PatientConnector.execute_query_all_async, PaidBackend()

    async def slow(connector: PatientConnector, query: str, **arguments: Any) -> list[dict[str, Any]]:
        if "take_jobs" in query and arguments["queues"] == ["remote"] and asked:
            await asyncio.sleep(0.3)
        asked.append(query)
        return await ask(connector, query, **arguments)

    asked: list[str] = []
    monkeypatch.setattr(PatientConnector, "execute_query_all_async", slow)

    async def work(shop: Shop):
        made = await shop.submit()
        async with shop.working():
            await shop.until(made, lambda found: (found.handle or {}).get("id") is not None)
        return await shop.get(made)

    left = with_shop(work, make_backend=lambda: backend)
    assert (left.state, left.attempt) == (State.QUEUED, 1)
