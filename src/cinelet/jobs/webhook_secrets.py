"""The secrets that sign webhooks: one an owner, made when it is first needed.

They are kept as they are, because they have to sign: whoever can read the database can sign as well.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any

from psycopg import AsyncConnection

from cinelet.jobs.database import Database

PREFIX = "whsec_"
SECRET_BYTES = 32


class WebhookSecrets:
    """The table of secrets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def signing(self, owner: str) -> tuple[str, ...]:
        """Return what signs for an owner now: the secret in use, then those that were rotated out a while ago."""
        for _ in range(2):
            async with self._database.connection() as connection:
                rows = await connection.execute(
                    "SELECT secret FROM webhook_secrets"
                    " WHERE owner = %s AND (expires_at IS NULL OR expires_at > clock_timestamp())"
                    " ORDER BY expires_at DESC NULLS FIRST",
                    [owner],
                )
                found = tuple(row[0] for row in await rows.fetchall())
                if found:
                    return found
                await _add(connection, owner)
        raise AssertionError("what was added is there")

    async def current(self, owner: str) -> str:
        """Return the secret in use."""
        return (await self.signing(owner))[0]

    async def rotate(self, owner: str, *, keep_seconds: float) -> str:
        """Make a new secret and return it. keep_seconds: how long the one before signs as well."""
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(
                "UPDATE webhook_secrets SET expires_at = clock_timestamp() + make_interval(secs => %s)"
                " WHERE owner = %s AND expires_at IS NULL",
                [keep_seconds, owner],
            )
            await connection.execute(
                "DELETE FROM webhook_secrets WHERE owner = %s AND expires_at <= clock_timestamp()", [owner]
            )
            await _add(connection, owner)
        return await self.current(owner)


async def _add(connection: AsyncConnection[Any], owner: str) -> None:
    """Add a secret that is in use, unless there is one."""
    secret = PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")
    await connection.execute(
        "INSERT INTO webhook_secrets (owner, secret) VALUES (%s, %s)"
        " ON CONFLICT (owner) WHERE expires_at IS NULL DO NOTHING",
        [owner, secret],
    )
