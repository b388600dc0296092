"""The schema: brought up to date once, by whoever comes first, and never downwards."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from cinelet.jobs.database import Database
from cinelet.jobs.errors import DatabaseError, SchemaVersionError
from cinelet.jobs.ledger import JobLedger
from cinelet.jobs.migrations import Migration, known_migrations

FIRST = Migration(1, "first", "CREATE TABLE made (n int); INSERT INTO made VALUES (1)")
SECOND = Migration(2, "second", "UPDATE made SET n = n + 1; ALTER TABLE made ADD COLUMN m int")
BROKEN = Migration(2, "broken", "UPDATE made SET n = 100; SELECT 1 / 0")


def test_the_steps_are_numbered_without_a_gap():
    steps = known_migrations()
    assert [step.version for step in steps] == list(range(1, len(steps) + 1))


@pytest.fixture
def opened(data_directory, schema):
    """Return what opens a database with some migrations."""

    def open_with(*migrations):
        return Database.open(None, data_directory=data_directory, schema=schema, migrations=migrations or None)

    return open_with


async def rows(database, statement):
    async with database.connection() as connection:
        return await (await connection.execute(statement)).fetchall()


def test_four_that_open_at_once_apply_each_step_once(opened):
    async def work():
        databases = await asyncio.gather(*(opened(FIRST, SECOND) for _ in range(4)))
        found = await rows(databases[0], "SELECT n FROM made")
        steps = await rows(databases[0], "SELECT version, name FROM schema_migrations ORDER BY version")
        for database in databases:
            await database.aclose()
        return found, steps

    assert asyncio.run(work()) == ([(2,)], [(1, "first"), (2, "second")])


def test_only_what_is_missing_is_applied(opened):
    async def work():
        found = []
        for migrations in ((FIRST,), (FIRST, SECOND), (FIRST, SECOND)):
            async with await opened(*migrations) as database:
                found += await rows(database, "SELECT n FROM made")
        return found

    assert asyncio.run(work()) == [(1,), (2,), (2,)]


def test_a_newer_schema_is_refused_and_left_alone(opened):
    async def work():
        async with await opened(FIRST, SECOND):
            pass
        with pytest.raises(SchemaVersionError, match="has version 2 and this cinelet knows up to 1; update cinelet"):
            await opened(FIRST)
        async with await opened(FIRST, SECOND) as database:
            return await rows(database, "SELECT n FROM made")

    assert asyncio.run(work()) == [(2,)]


def test_a_step_that_fails_changes_nothing(opened):
    async def work():
        async with await opened(FIRST):
            pass
        with pytest.raises(DatabaseError, match="cannot be prepared: division by zero"):
            await opened(FIRST, BROKEN)
        async with await opened(FIRST) as database:
            return await rows(database, "SELECT n FROM made")

    assert asyncio.run(work()) == [(1,)]


def test_two_schemas_of_one_database_do_not_meet(data_directory, schema):
    async def work():
        first = await Database.open(None, data_directory=data_directory, schema=schema)
        second = await Database.open(None, data_directory=data_directory, schema=f"{schema}_of_another")
        await JobLedger(first).insert({}, owner="", requested_model="m")
        counts = [(await database.status()).generations for database in (first, second)]
        await first.aclose()
        await second.aclose()
        return counts

    assert asyncio.run(work()) == [{"queued": 1}, {}]


def test_a_database_that_may_not_be_changed_says_so(data_directory, schema):
    async def work():
        async with await Database.open(None, data_directory=data_directory, schema=schema) as database:
            async with database.connection() as connection:
                await connection.execute(f'CREATE ROLE "{schema}" LOGIN')
            url = psycopg.conninfo.make_conninfo(database.conninfo, user=schema)
            with pytest.raises(DatabaseError, match="cannot be prepared: permission denied"):
                await Database.open(url, data_directory=data_directory, schema="new")
            async with database.connection() as connection:
                await connection.execute(f'DROP ROLE "{schema}"')

    asyncio.run(work())
