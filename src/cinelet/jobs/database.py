"""The PostgreSQL database: a given one, or a private one in the data directory."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from cinelet.clock import Clock, in_thread_to_the_end
from cinelet.jobs import archive
from cinelet.jobs.errors import DatabaseError, DatabaseUnavailableError
from cinelet.jobs.migrations import Migration, known_migrations, migrate, schema_version
from cinelet.jobs.private_server import PrivateServer
from cinelet.observability.logs import get_logger

SCHEMA = "cinelet"
"""Everything of ours lies in this schema, so that a database may be shared with other programs."""
CONNECTIONS = 4
"""At most, of one process: statements are short, and each connection costs the server some MB and a slow beginning."""
CONNECT_SECONDS = 10
LISTEN_SECONDS = 30.0
"""How long silence is believed."""
RECONNECT_SECONDS = 0.5
OLDEST_SERVER = 14
_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """What the database is like now. size_bytes: of everything in its schema; generations: how many, by state."""

    where: str
    private: bool
    server_version: str
    schema_version: int
    newest_schema_version: int
    size_bytes: int
    generations: dict[str, int]
    connections: int


class Database:
    """Connections to the database, with the schema of this version in it. Made by `open`."""

    def __init__(
        self,
        pool: AsyncConnectionPool[AsyncConnection[Any]],
        *,
        conninfo: str,
        schema: str,
        server: PrivateServer | None,
    ) -> None:
        self._pool = pool
        self._server = server
        self.conninfo = conninfo
        """How to connect, for another library; it may hold a password."""
        self.schema = schema

    @classmethod
    async def open(
        cls,
        url: str | None,
        *,
        data_directory: Path,
        max_connections: int = CONNECTIONS,
        schema: str = SCHEMA,
        migrations: Sequence[Migration] | None = None,
    ) -> Self:
        """Connect, and bring the schema up to date. Raises `DatabaseError`, one line that says what to do.

        url: a PostgreSQL URL or connection string; None for the private server of the data directory, which is started
        if it does not run. migrations: other steps than this version's, for tests.
        """
        server = None if url else PrivateServer(data_directory)
        if server is not None:
            await in_thread_to_the_end(server.attach, undo=server.leave)
        try:
            conninfo = _conninfo(url if server is None else server.conninfo, schema=schema, private=server is not None)
            await _prepare(conninfo, schema=schema, migrations=migrations)
            pool = AsyncConnectionPool(
                conninfo if server is None else _ensuring(server, conninfo),
                connection_class=AsyncConnection[Any],
                kwargs={"autocommit": True},
                min_size=1,
                max_size=max_connections,
                timeout=CONNECT_SECONDS,
                # After a restart of the server every connection is dead, and none is handed out.
                check=_check_open,
                open=False,
            )
            await pool.open()
        except BaseException:
            if server is not None:
                await in_thread_to_the_end(server.leave)
            raise
        return cls(pool, conninfo=conninfo, schema=schema, server=server)

    async def aclose(self) -> None:
        """Close every connection, and leave the private server: the last one to leave stops it."""
        await self._pool.close()
        if self._server is not None:
            await in_thread_to_the_end(self._server.leave)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    @property
    def where(self) -> str:
        """Where the database is, without user and password."""
        return _where(self.conninfo) if self._server is None else str(self._server.folder)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend a connection: each statement is a transaction, or use `connection.transaction()`.

        Raises `DatabaseUnavailableError` where the server is not reached or goes away meanwhile, and `DatabaseError`
        where its disk is full.
        """
        try:
            async with self._pool.connection() as connection:
                yield connection
        except PoolTimeout as error:
            message = f"The database at {self.where} gave no connection within {CONNECT_SECONDS} s"
            raise DatabaseUnavailableError(f"{message}; try again later") from error
        except (psycopg.errors.DiskFull, psycopg.errors.ReadOnlySqlTransaction) as error:
            message = f"The database at {self.where} takes no writes: {_reason(error)}"
            raise DatabaseError(f"{message}; make room, or point to a server that does") from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise DatabaseUnavailableError(f"The database at {self.where} failed: {_reason(error)}") from error

    @asynccontextmanager
    async def locked(self, name: str) -> AsyncIterator[AsyncConnection[Any]]:
        """Keep every other process out of what it does under the same name, and give the connection that does so.

        Nothing inside may want another one: where all are held by such as wait for one more, nobody goes on.
        """
        async with self.connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", [name])
            yield connection

    @property
    def pool(self) -> AsyncConnectionPool[AsyncConnection[Any]]:
        """The connections, for another library that shares them."""
        return self._pool

    async def listen(self, channels: Sequence[str], *, clock: Clock) -> AsyncIterator[tuple[str, str] | None]:
        """Give what is announced on the channels, (channel, payload), for ever, over a connection of its own.

        None whenever it begins to listen: something may have been missed before. Raises `DatabaseUnavailableError` only
        where it never could listen.
        """
        heard_before = False
        while True:
            try:
                async with await self._beside_the_pool() as connection:
                    for channel in channels:
                        await connection.execute(SQL("LISTEN {}").format(Identifier(channel)))
                    heard_before = True
                    yield None
                    while True:
                        async for told in connection.notifies(timeout=LISTEN_SECONDS):
                            yield told.channel, told.payload
                        await connection.execute("SELECT 1")  # A peer that is gone in silence shows itself here.
            except (psycopg.OperationalError, psycopg.InterfaceError, DatabaseError) as error:
                if not heard_before:
                    message = f"The database at {self.where} cannot be listened to: {type(error).__name__}"
                    raise DatabaseUnavailableError(f"{message}; try again later") from error
                _logger.info("The database is not heard now", extra={"reason": type(error).__name__})
            await clock.pause_async(RECONNECT_SECONDS)

    async def _beside_the_pool(self) -> AsyncConnection[Any]:
        if self._server is not None:
            await asyncio.to_thread(self._server.ensure_running)
        return await AsyncConnection.connect(self.conninfo, autocommit=True)

    async def status(self) -> DatabaseStatus:
        """Return what the database is like now."""
        async with self.connection() as connection:
            row = await (
                await connection.execute(
                    "SELECT current_setting('server_version'),"
                    " (SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class"
                    "  WHERE relnamespace = %s::regnamespace AND relkind = 'r'),"
                    " (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())",
                    [Identifier(self.schema).as_string()],
                )
            ).fetchone()
            assert row is not None  # noqa: S101  (a SELECT without FROM)
            counts = await (
                await connection.execute("SELECT state, count(*) FROM generations GROUP BY state ORDER BY state")
            ).fetchall()
            version = await schema_version(connection, schema=self.schema)
        return DatabaseStatus(
            where=self.where,
            private=self._server is not None,
            server_version=row[0].split()[0],
            schema_version=version,
            newest_schema_version=known_migrations()[-1].version,
            size_bytes=row[1],
            generations=dict(counts),
            connections=row[2],
        )

    async def dump(self, path: Path) -> None:
        """Write everything to a file in one step; it is complete or not there."""
        await asyncio.to_thread(archive.dump, path, conninfo=self.conninfo, schema=self.schema)

    async def restore(self, path: Path) -> None:
        """Replace everything by what a dump holds, or change nothing; an older dump is brought up to date."""
        await asyncio.to_thread(archive.restore, path, conninfo=self.conninfo, schema=self.schema)
        async with self.connection() as connection:
            await migrate(connection, schema=self.schema)
            await connection.execute("SELECT index_texts()")


def _conninfo(url: str | None, *, schema: str, private: bool) -> str:
    try:
        values = conninfo_to_dict(url or "")
    except psycopg.ProgrammingError as error:
        # Not the reason: it repeats parts of what was given, and that may be the password.
        message = "DATABASE_URL is no PostgreSQL address; write postgresql://user:password@host:5432/database"
        raise DatabaseError(message) from error
    options = f"{values.get('options') or ''} -c search_path={schema} -c timezone=UTC".strip()
    named = {} if private else {"connect_timeout": CONNECT_SECONDS, "application_name": "cinelet", **values}
    # Keepalives find a server that vanished without a word within a minute.
    alive = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3}
    return make_conninfo("", **{**alive, **values, **named, "options": options})


def _ensuring(server: PrivateServer, conninfo: str) -> Any:
    async def find() -> str:
        """Start the private server again, should it be gone, before each new connection."""
        await asyncio.to_thread(server.ensure_running)
        return conninfo

    return find


async def _prepare(conninfo: str, *, schema: str, migrations: Sequence[Migration] | None) -> None:
    """Connect once, with a clear error where that fails, and migrate."""
    where = _where(conninfo)
    try:
        connection = await AsyncConnection.connect(conninfo, autocommit=True)
    except psycopg.OperationalError as error:
        message = f"The database at {where} cannot be reached: {_reason(error)}"
        raise DatabaseUnavailableError(f"{message}; check DATABASE_URL and that the server runs") from error
    try:
        if connection.info.server_version < OLDEST_SERVER * 10000:
            found = connection.info.server_version // 10000
            raise DatabaseError(f"The database at {where} is PostgreSQL {found}; {OLDEST_SERVER} or newer is needed")
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            todo = "use one that was made with ENCODING 'UTF8'"
            raise DatabaseError(f"The database at {where} has the encoding {encoding}, and prompts are Unicode; {todo}")
        await migrate(connection, schema=schema, migrations=migrations)
    except psycopg.Error as error:
        raise DatabaseError(f"The database at {where} cannot be prepared: {_reason(error)}") from error
    finally:
        await connection.close()


async def _check_open(connection: AsyncConnection[Any]) -> None:
    """Raise where the server has hung up. An idle one says nothing, so only one that did is asked whether it lives."""
    if not hasattr(select, "poll"):  # Windows
        await AsyncConnectionPool.check_connection(connection)
        return
    said = select.poll()
    said.register(connection.fileno(), select.POLLIN)
    if said.poll(0):
        await AsyncConnectionPool.check_connection(connection)


def _where(conninfo: str) -> str:
    values = conninfo_to_dict(conninfo)
    host = values.get("host") or values.get("hostaddr") or "the default socket"
    return f"{host}{f':{port}' if (port := values.get('port')) else ''}/{values.get('dbname') or ''}".rstrip("/")


def _reason(error: psycopg.Error) -> str:
    """Return the last line that says why; libpq's first lines repeat what was tried before."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Multiple")]
    return next((line for line in lines if "failed" in line or "FATAL" in line), (lines or [type(error).__name__])[0])
