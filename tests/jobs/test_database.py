"""The database from the program's side: opening, failing with one clear line, coming back, dumping."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import time
from pathlib import Path

import psycopg
import pytest

from cinelet.jobs.database import Database
from cinelet.jobs.errors import DatabaseError, DatabaseUnavailableError
from cinelet.jobs.ledger import JobLedger
from cinelet.jobs.migrations import known_migrations


async def insert(database):
    return (await JobLedger(database).insert({"prompt": "p"}, owner="", requested_model="m")).generation


def refusal(url, data_directory):
    with pytest.raises(DatabaseError) as refused:
        asyncio.run(Database.open(url, data_directory=data_directory))
    assert "\n" not in str(refused.value)
    assert "s3cret" not in str(refused.value)
    return refused.value


@pytest.mark.parametrize("url", ["postgresql://u:s3cret@host/x?sslmod=s3cret", "mysql://u:s3cret@host/x", "s3cret"])
def test_a_wrong_address_is_one_clear_line_without_the_password(tmp_path, url):
    error = refusal(url, tmp_path)
    assert str(error).startswith("DATABASE_URL is no PostgreSQL address; write postgresql://")
    assert not error.retryable


def test_a_server_that_cannot_be_reached_is_one_clear_line(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, and not listening
        port = closed.getsockname()[1]
        error = refusal(f"postgresql://u:s3cret@127.0.0.1:{port}/videos", tmp_path)
    assert isinstance(error, DatabaseUnavailableError)
    assert f"127.0.0.1:{port}/videos cannot be reached" in str(error)
    assert "refused" in str(error)


def test_a_given_database_is_used_and_no_private_one_is_made(data_directory, schema, tmp_path):
    async def work():
        async with await Database.open(None, data_directory=data_directory, schema=schema) as private:
            made = await insert(private)
            async with await Database.open(private.conninfo, data_directory=tmp_path, schema=schema) as given:
                assert await JobLedger(given).get(made.id) == made
                assert (await given.status()).private is False

    asyncio.run(work())
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_does_not_exist_is_one_clear_line(data_directory, tmp_path):
    async def work():
        async with await Database.open(None, data_directory=data_directory) as database:
            url = psycopg.conninfo.make_conninfo(database.conninfo, dbname="nothing")
            with pytest.raises(DatabaseUnavailableError, match='database "nothing" does not exist; check'):
                await Database.open(url, data_directory=tmp_path)

    asyncio.run(work())


def test_the_event_loop_goes_on_while_the_server_starts(copy_data, tmp_path):
    directory = copy_data(tmp_path / "data")

    async def work():
        longest = 0.0
        opening = asyncio.ensure_future(Database.open(None, data_directory=directory))
        while not opening.done():
            began = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)
        await (await opening).aclose()
        return longest

    assert asyncio.run(work()) < 0.5


def test_a_cancelled_opening_leaves_no_server(copy_data, tmp_path, processes_of):
    directory = copy_data(tmp_path / "data")

    async def work():
        opening = asyncio.ensure_future(Database.open(None, data_directory=directory))
        while not (directory / "database" / "server.lock").exists():  # noqa: ASYNC110  (made by a thread)
            await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    asyncio.run(work())
    assert processes_of(directory / "database" / "postgres") == []


def test_the_ledger_goes_on_after_its_server_was_killed(copy_data, tmp_path, processes_of):
    directory = copy_data(tmp_path / "data")

    async def work():
        async with await Database.open(None, data_directory=directory) as database:
            kept = await insert(database)
            os.kill(
                int((directory / "database" / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL
            )
            # What is under way at that moment may fail; nobody has to start the server.
            with contextlib.suppress(DatabaseUnavailableError):
                await insert(database)
            made = await insert(database)
            ids = [one.id for one in (await JobLedger(database).list()).generations]
            assert {kept.id, made.id} <= set(ids)

    asyncio.run(work())
    assert processes_of(directory / "database" / "postgres") == []


def test_connections_that_the_server_closed_are_replaced(data_directory, schema):
    async def work():
        async with (
            await Database.open(None, data_directory=data_directory, schema=schema) as database,
            await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True) as other,
        ):
            await asyncio.gather(*(insert(database) for _ in range(10)))
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            others = "SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            while await (await other.execute(others)).fetchone() is not None:  # noqa: ASYNC110  (they end soon)
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            await asyncio.gather(*(insert(database) for _ in range(10)))
            assert (await database.status()).generations == {"queued": 20}

    asyncio.run(work())


def test_a_connection_that_dies_in_the_middle_is_an_error_worth_a_retry(data_directory, schema):
    async def work():
        async with await Database.open(None, data_directory=data_directory, schema=schema) as database:
            with pytest.raises(DatabaseUnavailableError, match=r"failed: .*terminat"):
                async with database.connection() as connection:
                    await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            await insert(database)

    asyncio.run(work())


def test_a_database_that_takes_no_writes_is_one_clear_line(data_directory, schema):
    async def write(database):
        async with database.connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION READ ONLY")
            await connection.execute("DELETE FROM generations")

    async def work():
        async with await Database.open(None, data_directory=data_directory, schema=schema) as database:
            with pytest.raises(DatabaseError, match=r"takes no writes: .*read-only") as refused:
                await write(database)
            assert not refused.value.retryable

    asyncio.run(work())


def test_the_status_says_what_there_is(data_directory, schema):
    async def work():
        async with await Database.open(None, data_directory=data_directory, schema=schema) as database:
            await JobLedger(database).request_cancel((await insert(database)).id)
            await insert(database)
            return await database.status()

    status = asyncio.run(work())
    assert status.generations == {"cancelled": 1, "queued": 1}
    assert (status.private, status.where) == (True, str(data_directory / "database" / "postgres"))
    assert status.schema_version == status.newest_schema_version == known_migrations()[-1].version
    assert status.server_version.startswith("18.")
    assert status.size_bytes > 0
    assert status.connections >= 1


def test_a_restore_brings_back_what_the_dump_holds_and_nothing_else(data_directory, schema, tmp_path):
    dump = tmp_path / "all.dump"

    async def work():
        async with await Database.open(None, data_directory=data_directory, schema=schema) as database:
            ledger = JobLedger(database)
            kept = await insert(database)
            await database.dump(dump)
            later = await insert(database)
            await ledger.request_cancel(kept.id)
            await database.restore(dump)
            assert await ledger.get(later.id) is None
            assert await ledger.get(kept.id) == kept
            assert await ledger.claim(kept.id, worker="w") is not None  # the moves are back too
            with pytest.raises(psycopg.errors.CheckViolation):
                async with database.connection() as connection:
                    await connection.execute("UPDATE generations SET progress = 1")

    asyncio.run(work())
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [dump]


def test_a_dump_that_cannot_be_read_changes_nothing(data_directory, schema, tmp_path):
    dump, short = tmp_path / "all.dump", tmp_path / "short.dump"

    async def work():
        async with await Database.open(None, data_directory=data_directory, schema=schema) as database:
            made = await insert(database)
            await database.dump(dump)
            short.write_bytes(dump.read_bytes()[:-2000])
            (tmp_path / "text").write_text("no dump")
            for wrong in (short, tmp_path / "text", tmp_path / "missing", tmp_path):
                with pytest.raises(DatabaseError, match=r"cannot be restored from|There is no dump"):
                    await database.restore(wrong)
            assert await JobLedger(database).get(made.id) == made

    asyncio.run(work())


def test_a_dump_that_cannot_be_written_leaves_nothing(data_directory, schema, tmp_path):
    async def work():
        async with await Database.open(None, data_directory=data_directory, schema=schema) as database:
            with pytest.raises(DatabaseError, match="cannot be written: No such file"):
                await database.dump(tmp_path / "missing" / "all.dump")
            (tmp_path / "folder").mkdir()
            with pytest.raises(DatabaseError, match="cannot be written: Is a directory"):
                await database.dump(tmp_path / "folder")

    asyncio.run(work())
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_a_password_is_kept_off_the_command_line(tmp_path):
    from cinelet.jobs.archive import _without_password

    target = _without_password("host=h user=u password='a:b\\\\c'", folder=tmp_path)
    assert "a:b" not in target
    assert (tmp_path / "pgpass").read_text() == "*:*:*:*:a\\:b\\\\c\n"
    assert stat.S_IMODE((tmp_path / "pgpass").stat().st_mode) == 0o600
    assert Path(target.split("passfile=")[1]) == tmp_path / "pgpass"


def test_a_database_that_cannot_hold_every_prompt_is_refused(data_directory, schema):
    async def work():
        async with await Database.open(None, data_directory=data_directory, schema=schema) as database:
            async with database.connection() as connection:
                await connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
            url = psycopg.conninfo.make_conninfo(database.conninfo, dbname="latin")
            with pytest.raises(DatabaseError, match="has the encoding LATIN1"):
                await Database.open(url, data_directory=data_directory)
            async with database.connection() as connection:
                await connection.execute("DROP DATABASE latin")

    asyncio.run(work())
