"""Keys: made once, found by their hash, revoked within seconds, and never stored themselves."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import subprocess

import pytest

from cinelet.clock import FakeClock
from cinelet.domain.errors import ValidationError
from cinelet.jobs.keys import REMEMBERED_SECONDS, Keys, Role
from cinelet.jobs.private_server import programs
from cinelet.jobs.usage import unfinished, within_a_day


@pytest.fixture
def with_keys(with_ledger):
    """Return what runs a coroutine with the keys of a new database, and a clock that stands still."""

    def run(work):
        async def opened(_, database):
            clock = FakeClock(100.0)
            return await work(Keys(database, clock=clock), clock, database)

        return with_ledger(opened)

    return run


def test_a_key_is_found_by_its_secret_with_all_that_it_was_made_with(with_keys):
    async def work(keys, _clock, _database):
        limits = {"requests_per_minute": 60, "running": 4, "video_seconds_per_day": 3600}
        made, secret = await keys.create("site", owner="shop", role=Role.READ, **limits)
        assert re.fullmatch(r"cin_[A-Za-z0-9_-]{43}", secret), "256 bits"
        found = await keys.find(secret)
        assert dataclasses.replace(found, last_used_at=None) == made
        assert (found.owner, found.role, found.running) == ("shop", Role.READ, 4)
        assert await keys.list() == (dataclasses.replace(made, last_used_at=(await keys.list())[0].last_used_at),)

    with_keys(work)


def test_the_name_is_the_owner_where_none_is_given(with_keys):
    async def work(keys, _clock, _database):
        return (await keys.create("site"))[0].owner

    assert with_keys(work) == "site"


@pytest.mark.parametrize(
    "secret", ["", "cin_", "cin_" + "a" * 42, "cin_" + "a" * 43, "cin_" + "é" * 43, "cin_" + "a" * 4096, "\0"]
)
def test_what_is_no_secret_finds_nothing(with_keys, secret):
    async def work(keys, _clock, _database):
        await keys.create("site")
        return await keys.find(secret)

    assert with_keys(work) is None


def test_a_key_that_another_process_revokes_stops_within_five_seconds(with_keys):
    async def work(keys, clock, database):
        key, secret = await keys.create("site")
        assert await keys.find(secret)
        revoked = await Keys(database).revoke(key.id)
        assert revoked is not None
        assert revoked.revoked_at is not None
        clock.advance(REMEMBERED_SECONDS)
        assert await keys.find(secret) is None
        assert REMEMBERED_SECONDS <= 5

    with_keys(work)


def test_a_key_that_is_revoked_here_stops_at_once_and_stays_listed(with_keys):
    async def work(keys, _clock, _database):
        key, secret = await keys.create("site")
        assert await keys.find(secret)
        first = await keys.revoke(key.id)
        assert await keys.find(secret) is None
        assert (await keys.revoke(key.id)).revoked_at == first.revoked_at
        assert [listed.revoked_at for listed in await keys.list()] == [first.revoked_at]
        assert await keys.revoke("key_nothing") is await keys.revoke("\0") is None

    with_keys(work)


def test_a_request_costs_no_query_within_five_seconds(with_keys, monkeypatch):
    async def work(keys, clock, database):
        _, secret = await keys.create("site")
        wrong = secret[:-1] + ("A" if secret[-1] != "A" else "B")
        await keys.exist()
        await asyncio.gather(keys.find(secret), keys.find(wrong))
        monkeypatch.setattr(type(database), "connection", None)
        clock.advance(REMEMBERED_SECONDS - 0.01)
        assert await keys.find(secret)
        assert await keys.find(wrong) is None
        assert await keys.exist()

    with_keys(work)


def test_what_is_remembered_has_an_end(with_keys, monkeypatch):
    monkeypatch.setattr("cinelet.jobs.keys.MAX_REMEMBERED", 3)

    async def work(keys, _clock, _database):
        for n in range(10):
            await keys.find(f"cin_{n:043d}")
        return len(keys._remembered)

    assert with_keys(work) == 3


def test_the_last_use_is_written_once_a_minute(with_keys):
    async def work(keys, clock, database):
        key, secret = await keys.create("site")

        async def used_again():
            clock.advance(REMEMBERED_SECONDS)
            await keys.find(secret)
            return (await keys.list())[0].last_used_at

        first = await used_again()
        assert first is not None
        assert await used_again() == first
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE api_keys SET last_used_at = last_used_at - interval '61 seconds' WHERE id = %s", [key.id]
            )
        assert await used_again() >= first

    with_keys(work)


def test_there_are_keys_from_the_first_one_on_also_when_all_are_revoked(with_keys):
    async def work(keys, clock, database):
        assert not await keys.exist()
        other = Keys(database)
        key, _ = await other.create("site")
        clock.advance(REMEMBERED_SECONDS)
        assert await keys.exist()
        await other.revoke(key.id)
        return await Keys(database).exist()

    assert with_keys(work)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " x"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "x", "owner": "a\nb"}, "owner"),
        ({"name": "x", "running": 0}, "running"),
        ({"name": "x", "requests_per_minute": -1}, "requests_per_minute"),
        ({"name": "x", "video_seconds_per_day": 2**31}, "video_seconds_per_day"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused_by_field(with_keys, values, field):
    async def work(keys, _clock, _database):
        with pytest.raises(ValidationError) as refused:
            await keys.create(values.pop("name"), **values)
        return refused.value.details

    assert list(with_keys(work)) == [field]


def test_a_dump_and_a_printed_key_hold_no_secret(with_keys, schema):
    async def work(keys, _clock, database):
        key, secret = await keys.create("site")
        found = await keys.find(secret)
        command = [str(programs() / "pg_dump"), f"--dbname={database.conninfo}", f"--schema={schema}"]
        dumped = await asyncio.to_thread(lambda: subprocess.check_output(command, text=True))
        assert key.id in dumped
        for text in (dumped, repr(found), repr(keys), repr(vars(keys))):
            assert secret not in text
            assert secret.removeprefix("cin_") not in text

    with_keys(work)


@pytest.mark.parametrize(
    ("role", "may"), [(Role.READ, {"read"}), (Role.GENERATE, {"read", "generate"}), (Role.ADMIN, set(Role))]
)
def test_a_role_includes_those_below_it(role, may):
    assert {other for other in Role if role.includes(other)} == may


def test_what_an_owner_has_asked_for_counts_also_when_it_is_deleted(with_ledger):
    async def work(ledger, database):
        asked = [
            (await ledger.insert({"prompt": "\0", **more}, owner=owner, requested_model="m")).generation
            for owner, more in (
                ("a", {"duration": 10.0}),
                ("a", {}),
                ("b", {"duration": 5.0}),
                ("a", {"duration": 2.5}),
            )
        ]
        await ledger.request_cancel(asked[0].id)
        async with database.connection() as connection:
            assert await unfinished(connection, "a", at_most=9) == 2
            assert await unfinished(connection, "a", at_most=1) == 1
            before = await within_a_day(connection, "a", "video_seconds", limit=10)
            await ledger.delete(asked[0].id)
            after = await within_a_day(connection, "a", "video_seconds", limit=10)
        assert before.amount == after.amount == 6 + 2.5
        assert 86_390 <= after.fits_in_seconds <= 86_400

    with_ledger(work)


def test_what_is_older_than_a_day_counts_no_more_and_says_when_the_rest_fits(with_ledger):
    async def work(ledger, database):
        ages = {"25 hours": 100.0, "23 hours": 4.0, "12 hours": 3.0, "1 hour": 2.0}
        async with database.connection() as connection:
            for age, seconds in ages.items():
                made = await ledger.insert({"duration": seconds}, owner="a", requested_model="m")
                await connection.execute(
                    "UPDATE generations SET created_at = created_at - %s::interval WHERE id = %s",
                    [age, made.generation.id],
                )
            found = await within_a_day(connection, "a", "video_seconds", limit=5)
            later = await within_a_day(connection, "a", "video_seconds", limit=2)
        assert found.amount == 9
        assert found.fits_in_seconds == pytest.approx(3600, abs=30), "when the 4 seconds are a day old"
        assert later.fits_in_seconds == pytest.approx(12 * 3600, abs=30)

    with_ledger(work)


def test_an_index_serves_what_is_counted(with_ledger):
    async def work(ledger, database):
        for _ in range(3):
            await ledger.insert({}, owner="a", requested_model="m")
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO generations (id, owner, request, requested_model, request_hash, video_seconds, follows)"
                " SELECT 'x' || n, 'b', '{}', 'm', '', 1, 'x' FROM generate_series(1, 3000) n"
            )
            await connection.execute("ANALYZE generations")
            plan = await connection.execute(
                "EXPLAIN SELECT count(*) FROM (SELECT FROM generations"
                " WHERE owner = 'a' AND state = ANY('{queued,in_progress}') LIMIT 5) counted"
            )
            return "\n".join(row[0] for row in await plan.fetchall())

    plan = with_ledger(work)
    assert "Seq Scan" not in plan, plan
    assert "generations_by_owner" in plan
