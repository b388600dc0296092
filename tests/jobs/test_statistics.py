"""How models did lately, from outcomes as they are and from the hours that are written down."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from cinelet.domain.errors import ValidationError
from cinelet.jobs.database import Database
from cinelet.jobs.statistics import MAX_MODELS, SETTLE_SECONDS, Statistics, statistics, write_hours
from tests.jobs.test_histogram import bucket_of

DAY = timedelta(days=1)
FAL, LOCAL = "hf:org/name:fal-ai", "local:org/name"


async def note(
    database: Database,
    *,
    minutes_ago: float = 0,  # what is older than the database is of hours that count as written
    owner: str = "ann",
    model: str = FAL,
    provider: str | None = "fal-ai",
    succeeded: bool | None = True,
    code: str | None = None,
    seconds: float = 10,
    waited: float | None = 1,
    video_seconds: float | None = 2,
    cost: float | None = None,
    currency: str | None = None,
    times: int = 1,
) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO outcomes (at, generation_id, owner, requested_model, model, provider, task, succeeded, code,"
            " seconds, queue_seconds, video_seconds, cost, currency)"
            " SELECT clock_timestamp() - make_interval(secs => %s), 'g', %s, 'm', %s, %s, 'text-to-video', %s, %s,"
            " %s, %s, %s, %s, %s FROM generate_series(1, %s)",
            [
                minutes_ago * 60, owner, model, provider, succeeded, code, seconds, waited, video_seconds, cost,
                currency, times,
            ],
        )  # fmt: skip


async def begin(database: Database, *, hours_ago: int) -> None:
    """Let it be as if nothing had been written down since."""
    async with database.connection() as connection:
        await connection.execute(
            # Before an hour that is surely over: in the first minute of the next one it is not.
            "UPDATE outcome_hours_until"
            " SET until = date_trunc('hour', clock_timestamp() - make_interval(hours => %s, secs => %s))",
            [hours_ago, SETTLE_SECONDS],
        )


async def told(database: Database, window: timedelta = DAY, **chosen: Any) -> Statistics:
    return await statistics(database, window, **{"currency": "USD", **chosen})


def test_each_model_is_told_where_it_ran(with_ledger):
    async def work(_ledger, database):
        for _ in range(3):
            await note(database, cost=0.1, currency="USD")
        await note(database, succeeded=False, code="model_host_failed", seconds=30, video_seconds=None, waited=None)
        await note(database, succeeded=None, code="cancelled", seconds=5, video_seconds=None, waited=None)
        await note(database, model=LOCAL, provider=None, seconds=45, video_seconds=3, waited=8)
        return await told(database)

    found = with_ledger(work)
    fal, local = found.models
    assert (fal.model, fal.provider, local.model, local.provider) == (FAL, "fal-ai", LOCAL, None)
    assert (fal.attempts, fal.succeeded, fal.failed, fal.neither) == (5, 3, 1, 1)
    assert fal.success_rate == 0.75
    assert fal.errors() == [("model_host_failed", 1), ("cancelled", 1)]
    assert (fal.work_seconds, fal.video_seconds) == (65, 6)
    assert (fal.known_cost, fal.priced) == (pytest.approx(0.3), 3)
    assert fal.rate(0.5) == pytest.approx(5, rel=0.1)
    assert local.rate(0.95) == pytest.approx(15, rel=0.1)
    assert (fal.wait(0.5), local.wait(0.5)) == (pytest.approx(1, rel=0.1), pytest.approx(8, rel=0.1))
    assert (local.known_cost, local.priced) == (None, 0)
    assert (found.total.attempts, found.total.work_seconds, found.more_models) == (6, 110, 0)
    assert found.until - found.since == DAY


def test_written_hours_tell_what_the_outcomes_themselves_do(with_ledger):
    async def work(_ledger, database):
        for hours in range(50):
            await note(
                database,
                minutes_ago=60 * hours + 7,
                owner=("ann", "bob")[hours % 2],
                model=(FAL, LOCAL)[hours % 3 == 0],
                provider=("fal-ai", None)[hours % 3 == 0],
                succeeded=hours % 5 != 0,
                code="rate_limited" if hours % 5 == 0 else None,
                seconds=1.5 ** (hours % 11),
                cost=0.01 * hours,
                currency="USD",
            )
        await begin(database, hours_ago=60)
        questions = [
            (timedelta(hours=hours), chosen)
            for hours in (1, 2, 24, 48, 720)
            for chosen in ({}, {"owner": "ann"}, {"model": FAL}, {"provider": "local"})
        ]
        before = [await told(database, window, **chosen) for window, chosen in questions]
        written = await asyncio.gather(*(write_hours(database) for _ in range(4)))
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE outcomes SET seconds = 1e6 WHERE at < clock_timestamp() - interval '9 h'"
                " AND at > clock_timestamp() - interval '46 h'"  # the first hour of a window is read as it is
            )
        after = [await told(database, window, **chosen) for window, chosen in questions if window >= 2 * DAY]
        pairs = zip([one for one in before if one.until - one.since >= 2 * DAY], after, strict=True)
        return list(pairs), sum(written), await write_hours(database), before[8].total

    pairs, written, again, of_a_day = with_ledger(work)
    assert (written, again) == (60, 0), "each hour is written once"
    assert of_a_day.attempts == 24
    for before, after in pairs:
        assert after.total.attempts == before.total.attempts > 0
        assert after.total.codes == before.total.codes
        assert after.total.rates == before.total.rates
        assert after.total.known_cost == pytest.approx(before.total.known_cost)
        assert [one.model for one in after.models] == [one.model for one in before.models]


def test_only_the_window_counts_also_within_an_hour(with_ledger):
    async def work(_ledger, database):
        await begin(database, hours_ago=4)
        for minutes in (1, 59, 61, 119, 121):
            await note(database, minutes_ago=minutes)
        found = [(await told(database, timedelta(hours=hours))).total.attempts for hours in (1, 2, 3)]
        await write_hours(database)
        return found, [(await told(database, timedelta(hours=hours))).total.attempts for hours in (1, 2, 3)]

    assert with_ledger(work) == ([2, 4, 5], [2, 4, 5])


def test_an_hour_is_over_only_when_its_last_end_is_surely_written(with_ledger):
    async def work(_ledger, database):
        await begin(database, hours_ago=3)
        async with database.connection() as connection:
            await connection.execute("SELECT write_outcome_hours(3600, interval '31 days')")
            row = await connection.execute(
                "SELECT date_trunc('hour', clock_timestamp()) - until FROM outcome_hours_until"
            )
            return (await row.fetchone())[0]

    assert with_ledger(work) == timedelta(hours=1)


def test_a_clock_that_was_ahead_for_a_while_loses_nothing(with_ledger):
    async def work(_ledger, database):
        await note(database)
        await begin(database, hours_ago=-30)
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO outcome_hours"
                " SELECT * FROM outcomes_between(clock_timestamp() - interval '1 hour', 'infinity')"
            )
            await connection.execute("UPDATE outcome_hours SET hour = hour + interval '2 hours'")
        before = await told(database)
        await write_hours(database)
        await note(database)
        after = await told(database)
        async with database.connection() as connection:
            left = await connection.execute(
                "SELECT until <= clock_timestamp(), (SELECT count(*) FROM outcome_hours) FROM outcome_hours_until"
            )
            return before.total.attempts, after.total.attempts, await left.fetchone()

    assert with_ledger(work) == (1, 2, (True, 0))


def test_what_is_old_is_forgotten(with_ledger):
    async def work(_ledger, database):
        await note(database, minutes_ago=60 * 24 * 40)
        await begin(database, hours_ago=41 * 24)
        await write_hours(database)
        async with database.connection() as connection:
            return await (await connection.execute("SELECT count(*) FROM outcome_hours")).fetchone()

    assert with_ledger(work) == (0,)


def test_an_owner_is_told_of_his_own_alone(with_ledger):
    async def work(ledger, database):
        await note(database, owner="ann")
        await note(database, owner="bob", times=5)
        await ledger.insert({}, owner="ann", requested_model="m")
        await ledger.insert({}, owner="bob", requested_model="n")
        return await told(database, owner="ann")

    found = with_ledger(work)
    assert found.total.attempts == 1
    assert [(one.model, one.queued, one.in_progress) for one in found.waiting] == [("m", 1, 0)]


def test_a_name_stands_for_whoever_runs_it(with_ledger):
    async def work(_ledger, database):
        for model, provider in (
            (FAL, "fal-ai"), ("hf:org/name:replicate", "replicate"), (LOCAL, None), ("hf:org/names:fal-ai", "fal-ai"),
        ):  # fmt: skip
            await note(database, model=model, provider=provider)
        asked = ("org/name", "hf:org/name", FAL, "local:org/name", "embedded")
        found = [[one.model for one in (await told(database, model=model)).models] for model in asked]
        with pytest.raises(ValidationError, match="is not a model reference"):
            await told(database, model="no such thing")
        return found

    replicate = "hf:org/name:replicate"
    assert with_ledger(work) == [[FAL, replicate, LOCAL], [FAL, replicate], [FAL], [LOCAL], []]


def test_costs_in_another_currency_are_not_added(with_ledger):
    async def work(_ledger, database):
        await note(database, cost=1.0, currency="USD")
        await note(database, cost=100.0, currency="JPY")
        return (await told(database)).total

    total = with_ledger(work)
    assert (total.known_cost, total.priced, total.attempts) == (1, 1, 2)


def test_many_models_are_told_of_up_to_a_number_and_counted_beyond_it(with_ledger):
    async def work(_ledger, database):
        for number in range(MAX_MODELS + 7):
            await note(database, model=f"plugin:{number}", provider=None, times=1 + (number == 3))
        return await told(database)

    found = with_ledger(work)
    assert found.models[0].model == "plugin:3"
    assert (len(found.models), found.more_models, found.total.attempts) == (MAX_MODELS, 7, MAX_MODELS + 8)


def test_of_nothing_nothing_is_told(with_ledger):
    async def work(_ledger, database):
        await write_hours(database)
        return await told(database)

    found = with_ledger(work)
    assert (found.models, found.waiting, found.total.success_rate, found.total.rate(0.5)) == ([], [], None, None)


@pytest.mark.parametrize("seconds", [0, 0.0005, 0.001, 0.5, 1, 1.1, 7, 1e5, 1e12])
def test_sql_counts_in_the_same_buckets(with_ledger, seconds):
    async def work(_ledger, database):
        async with database.connection() as connection:
            return await (await connection.execute("SELECT bucket_of(%s)", [float(seconds)])).fetchone()

    assert with_ledger(work)[0] == pytest.approx(bucket_of(seconds), abs=1 if seconds == 1.1 else 0)
