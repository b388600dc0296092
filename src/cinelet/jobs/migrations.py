"""The numbered steps from an empty schema to the one that this version works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from psycopg import AsyncConnection

from cinelet.jobs.errors import SchemaVersionError

_LOCK = 0x63696E656C6574
"""Advisory lock of all processes that migrate: "cinelet" in ASCII."""
ENGINE_VERSION = 2


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. version: 1 for the first one."""

    version: int
    name: str
    sql: str


def known_migrations() -> tuple[Migration, ...]:
    """Return the steps of this version, in order: `sql/0001_name.sql`, and so on, and the job engine's own schema."""
    files = [file for file in resources.files("cinelet.jobs").joinpath("sql").iterdir() if file.name.endswith(".sql")]
    ours = [
        Migration(int(file.name[:4]), file.name[5:].removesuffix(".sql"), file.read_text(encoding="utf-8"))
        for file in files
    ]
    return tuple(sorted([*ours, _engine()], key=lambda step: step.version))


def _engine() -> Migration:
    """Return the step that makes Procrastinate's tables. Its later versions come with steps of their own."""
    from procrastinate.schema import SchemaManager

    return Migration(ENGINE_VERSION, "procrastinate", SchemaManager.get_schema())


async def migrate(
    connection: AsyncConnection[Any], *, schema: str, migrations: Sequence[Migration] | None = None
) -> int:
    """Apply what is missing, each step in a transaction of its own, and return the version.

    Any number of processes may do so at once. Raises `SchemaVersionError` where the schema is newer than the steps.
    """
    from psycopg import sql

    steps = known_migrations() if migrations is None else migrations
    newest = steps[-1].version
    while True:
        # A lock of the transaction: it cannot outlive it, also not behind a connection pooler.
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            version = await schema_version(connection, schema=schema)
            if version > newest:
                message = f"The database has version {version} and this cinelet knows up to {newest}"
                raise SchemaVersionError(f"{message}; update cinelet, or restore an older dump")
            if version == newest:
                return version
            if version == 0:
                name = sql.Identifier(schema)
                await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
                await connection.execute(
                    "CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, name text NOT NULL,"
                    " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
                )
            step = next(step for step in steps if step.version > version)
            await connection.execute(step.sql.encode())
            await connection.execute(
                "INSERT INTO schema_migrations (version, name) VALUES (%s, %s)", [step.version, step.name]
            )


async def schema_version(connection: AsyncConnection[Any], *, schema: str) -> int:
    """Return the number of the last step that was applied, 0 for none."""
    table = await connection.execute("SELECT to_regclass(format('%%I.schema_migrations', %s::text))", [schema])
    if (await table.fetchone() or (None,))[0] is None:
        return 0
    row = await (await connection.execute("SELECT max(version) FROM schema_migrations")).fetchone()
    return (row and row[0]) or 0
