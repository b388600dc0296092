"""A worker is on the list with what it does, at once where that changes, and off it when it has stopped or is gone."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from cinelet.domain.condition import CircuitCondition, Condition, Device, LoadedModel
from cinelet.jobs import presence
from cinelet.jobs.database import Database
from cinelet.jobs.errors import DatabaseUnavailableError
from cinelet.jobs.roster import HEARD_OF_SECONDS, KnownWorker, Roster, WorkerReport
from cinelet.testing import FakeBackend
from tests.jobs.shop import SECONDS, PaidBackend, Shop

LOADED = Condition(Device("cpu"), (LoadedModel("embedded", "cpu", bytes=26_000_000),))
REPORT = WorkerReport("studio", 4711, {"local": 1}, 0, 3, 1_700_000_000.5, 50_000_000, LOADED)


async def only(shop: Shop, reached: Callable[[KnownWorker], bool] = bool) -> KnownWorker:
    """Return the one worker of the list, when it is as a test wants it."""
    async with asyncio.timeout(SECONDS):
        while True:
            found = await shop.jobs.roster.list()
            if found and reached(found[0]):
                assert len(found) == 1
                return found[0]
            await asyncio.sleep(0.02)


async def let_time_pass(database: Database, seconds: float) -> None:
    async with database.connection() as connection:
        await connection.execute("UPDATE workers SET seen_at = seen_at - make_interval(secs => %s)", [seconds])


async def rows(database: Database) -> list[str]:
    async with database.connection() as connection:
        return [name for (name,) in await (await connection.execute("SELECT name FROM workers")).fetchall()]


def test_a_worker_is_listed_while_it_works_and_is_gone_after_a_clean_stop(with_shop):
    async def work(shop: Shop):
        began = time.time()
        async with shop.working(remote=4, local=1) as worker:
            found = await only(shop)
            assert (found.name, found.report.host) == (worker.name, worker.name.partition(":")[0])
            assert (found.report.pid, dict(found.report.queues)) == (os.getpid(), {"remote": 4, "local": 1})
            assert began - 1 < found.report.started_at <= found.seen_at.timestamp() + 1
            assert 10_000_000 < found.report.resident_bytes < 10**11
            assert found.report.condition == Condition()
        return await rows(shop.jobs.database)

    assert with_shop(work) == []


def test_the_number_of_running_generations_is_told_before_the_next_sweep(with_shop, monkeypatch: pytest.MonkeyPatch):
    backend = PaidBackend()

    async def work(shop: Shop):
        async with shop.working():
            await only(shop)
            # The first sweep is over, and the next one is far away.
            made = [await shop.submit(f"gull {number}") for number in range(3)]
            await only(shop, lambda worker: worker.report.running == 3)
            backend.may_end.set()
            for one in made:
                await shop.ended(one)
            return await only(shop, lambda worker: worker.report.running == 0)

    monkeypatch.setattr("cinelet.jobs.worker.SWEEP_SECONDS", 3600)
    assert with_shop(work, make_backend=lambda: backend).report.finished == 3


def test_many_changes_are_told_about_once_a_second(with_shop, monkeypatch: pytest.MonkeyPatch):
    write, written = Roster.write, []

    async def counted(self: Roster, name: str, report: WorkerReport) -> None:
        written.append(time.monotonic())
        await write(self, name, report)

    monkeypatch.setattr(Roster, "write", counted)
    monkeypatch.setattr("cinelet.jobs.worker.SWEEP_SECONDS", 3600)

    async def work(shop: Shop):
        async with shop.working(remote=2):
            made = [await shop.submit(f"gull {number}") for number in range(12)]
            for one in made:
                await shop.ended(one)
            await only(shop, lambda worker: worker.report.running == 0 and worker.report.finished == 12)

    with_shop(work)
    assert written
    assert all(later - earlier > 0.9 for earlier, later in itertools.pairwise(written))


def test_a_model_is_on_the_list_while_it_still_works_on_its_first_video(with_shop, monkeypatch: pytest.MonkeyPatch):
    backend = FakeBackend(steps=1000, step_seconds=0.05)
    monkeypatch.setattr("cinelet.jobs.worker.SWEEP_SECONDS", 3600)

    async def work(shop: Shop):
        async with shop.working():
            made = await shop.submit()
            await only(shop, lambda worker: worker.report.running == 1)
            backend.told = LOADED
            found = await only(shop, lambda worker: bool(worker.report.condition.models))
            await shop.ledger.request_cancel(made.id)
            await shop.ended(made)
        return found.report.condition

    assert with_shop(work, make_backend=lambda: backend) == LOADED


def test_an_idle_worker_writes_with_its_sweep_and_never_beside_it(with_shop, monkeypatch: pytest.MonkeyPatch):
    async def never(*_: object) -> None:
        raise AssertionError("a round trip of its own")

    monkeypatch.setattr(Roster, "write", never)
    monkeypatch.setattr("cinelet.jobs.worker.SWEEP_SECONDS", 0.1)

    async def work(shop: Shop):
        async with shop.working():
            first = await only(shop)
            return first, await only(shop, lambda worker: worker.seen_at > first.seen_at)

    first, later = with_shop(work)
    assert later.report.started_at == first.report.started_at


def test_a_worker_that_says_nothing_any_more_leaves_the_list_after_thirty_seconds(with_ledger):
    async def work(_, database):
        roster = Roster(database)
        await roster.write("lost", REPORT)
        await let_time_pass(database, HEARD_OF_SECONDS - 5)
        assert [(worker.name, worker.report) for worker in await roster.list()] == [("lost", REPORT)]
        await let_time_pass(database, 5)
        assert list(await roster.list()) == []
        assert await rows(database) == ["lost"]
        await roster.write("other", replace(REPORT, pid=1))
        assert await rows(database) == ["other"], "whoever reports clears away what is gone"

    with_ledger(work)


def test_two_workers_that_clear_away_the_same_rows_do_not_wait_for_each_other(with_ledger):
    async def work(_, database):
        roster = Roster(database)
        for round_number in range(5):
            await asyncio.gather(*(roster.write(f"lost {n}", REPORT) for n in range(8)))
            await let_time_pass(database, 60)
            async with asyncio.timeout(SECONDS):
                # Half of them come back just now.
                await asyncio.gather(*(roster.write(f"lost {n}", REPORT) for n in range(0, 8, 2)))
            assert len(await rows(database)) == 4, round_number
            await asyncio.gather(*(roster.remove(f"lost {n}") for n in range(8)))

    with_ledger(work)


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_a_backend_that_cannot_say_how_it_is_keeps_no_worker_from_its_work(
    with_shop, monkeypatch: pytest.MonkeyPatch, how: str
):
    monkeypatch.setattr(presence, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr("cinelet.jobs.worker.SWEEP_SECONDS", 0.1)
    let_go, calls = threading.Event(), []

    class Stuck(FakeBackend):
        def condition(self) -> Condition:
            calls.append(how)
            if how == "fails":
                raise LookupError("no driver")
            let_go.wait(SECONDS)
            return Condition()

    async def work(shop: Shop):
        async with shop.working():
            first = await only(shop)
            await only(shop, lambda worker: worker.seen_at > first.seen_at)
            done = await shop.ended(await shop.submit())
            let_go.set()
        return done

    assert with_shop(work, make_backend=Stuck).progress == 1
    assert len(calls) == 1 or how == "fails", "one thread at most waits for a driver"


def test_a_report_that_cannot_be_written_stops_nothing(with_shop, monkeypatch: pytest.MonkeyPatch):
    async def away(*_: object) -> None:
        raise DatabaseUnavailableError("The database is away")

    monkeypatch.setattr(Roster, "write", away)
    monkeypatch.setattr(Roster, "remove", away)

    async def work(shop: Shop):
        async with shop.working():
            return await shop.ended(await shop.submit())

    assert with_shop(work).progress == 1


def test_of_many_circuits_the_open_ones_are_told(with_shop):
    backend = FakeBackend()
    closed = [CircuitCondition(f"hf:org/closed-{number}:fal-ai", "closed", 1, 0.0) for number in range(5000)]
    opened = CircuitCondition("hf:org/open:fal-ai", "open", 5, 12.5)
    backend.told = Condition(circuits=(*closed, opened))

    async def work(shop: Shop):
        async with shop.working():
            return (await only(shop)).report.condition.circuits

    told = with_shop(work, make_backend=lambda: backend)
    assert (told[0], len(told)) == (opened, presence.MAX_CIRCUITS)


def test_a_dump_holds_no_workers(data_directory, schema, tmp_path):
    async def work():
        async with await Database.open(None, data_directory=data_directory, schema=schema) as database:
            await Roster(database).write("studio:1:a", REPORT)
            await database.dump(tmp_path / "all.dump")
            await database.restore(tmp_path / "all.dump")
            return await rows(database)

    assert asyncio.run(work()) == []
