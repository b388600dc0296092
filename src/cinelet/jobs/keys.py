"""Keys of the HTTP service: a secret that is shown once, and of which the database holds only a hash.

A secret has 256 random bits and is looked up by its SHA-256: how long that takes says nothing about any secret.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, LiteralString

from psycopg.rows import kwargs_row
from psycopg.sql import SQL, Identifier, Placeholder

from cinelet.clock import Clock, SystemClock
from cinelet.domain.errors import ValidationError
from cinelet.domain.money import DECIMALS, DEFAULT_CURRENCY
from cinelet.jobs.database import Database
from cinelet.jobs.errors import DatabaseError

PREFIX = "cin_"
SECRET_BYTES = 32
REMEMBERED_SECONDS = 5.0
"""How long an answer of the database is believed; so long can a key that was revoked still work."""
MAX_REMEMBERED = 10_000
MAX_NAME_CHARACTERS = 100
MAX_LIMIT = 2**31 - 1
_SECRET = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_USED_AGAIN = "(last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')"


class Role(StrEnum):
    """What a key may do; each may also do what the ones before it may."""

    READ = "read"
    GENERATE = "generate"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Tell whether this role may do all that the other one may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. owner: of what it makes and sees. Limits: None for no limit.

    running: how many generations of the owner may wait or run. video_seconds_per_day, budget_per_day (in `currency`):
    of the owner, in any 24 hours. webhook_url: who is told of the end of what it makes.
    """

    id: str
    name: str
    owner: str
    role: Role
    requests_per_minute: int | None
    running: int | None
    video_seconds_per_day: int | None
    budget_per_day: float | None
    currency: str | None
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    webhook_url: str | None = field(repr=False)


_COLUMNS = SQL(", ").join(Identifier(column.name) for column in fields(ApiKey))


class Keys:
    """The table of keys. What it has found it believes for a few seconds, so that a request costs no query."""

    def __init__(self, database: Database, *, clock: Clock | None = None) -> None:
        self._database = database
        self._clock: Clock = clock or SystemClock()
        self._remembered: dict[bytes, tuple[float, ApiKey | None]] = {}
        self._none_until: float | None = None
        self._exist = False

    async def create(
        self,
        name: str,
        *,
        owner: str | None = None,
        role: Role = Role.GENERATE,
        requests_per_minute: int | None = None,
        running: int | None = None,
        video_seconds_per_day: int | None = None,
        budget_per_day: float | None = None,
        currency: str = DEFAULT_CURRENCY,
        webhook_url: str | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; return it and its secret, which nobody can see again. owner: by default the name.

        currency: of the budget, if there is one.
        """
        limits: dict[str, float | None] = {
            "requests_per_minute": requests_per_minute,
            "running": running,
            "video_seconds_per_day": video_seconds_per_day,
            "budget_per_day": None if budget_per_day is None else round(budget_per_day, DECIMALS),
        }
        _check({"name": name, **({} if owner is None else {"owner": owner})}, limits)
        secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        values = {
            "id": "key_" + base64.b32encode(secrets.token_bytes(10)).decode("ascii").lower(),
            "name": name,
            "owner": name if owner is None else owner,
            "role": role.value,
            "secret_sha256": _sha256(secret),
            **limits,
            "currency": None if budget_per_day is None else currency,
            "webhook_url": webhook_url,
        }
        statement = SQL("INSERT INTO api_keys ({}) VALUES ({}) RETURNING {}").format(
            SQL(", ").join(map(Identifier, values)), SQL(", ").join(map(Placeholder, values)), _COLUMNS
        )
        async with self._database.connection() as connection:
            created = await (
                await connection.cursor(row_factory=kwargs_row(_key)).execute(statement, values)
            ).fetchone()
        assert created is not None  # noqa: S101  (an INSERT without ON CONFLICT)
        return created, secret

    async def list(self) -> tuple[ApiKey, ...]:
        """Return every key, also those that were revoked, the newest first."""
        statement = SQL("SELECT {} FROM api_keys ORDER BY created_at DESC, id").format(_COLUMNS)
        async with self._database.connection() as connection:
            rows = await connection.cursor(row_factory=kwargs_row(_key)).execute(statement)
            return tuple(await rows.fetchall())

    async def revoke(self, key_id: str) -> ApiKey | None:
        """End a key for good, and return it as it is then; None where there is none."""
        return await self._changed(key_id, "revoked_at = coalesce(revoked_at, clock_timestamp())")

    async def set_webhook(self, key_id: str, webhook_url: str | None) -> ApiKey | None:
        """Say who is told of what a key makes from now on, None for nobody; return the key, if there is one."""
        return await self._changed(key_id, "webhook_url = %(webhook_url)s", webhook_url=webhook_url)

    async def _changed(self, key_id: str, assignment: LiteralString, **values: Any) -> ApiKey | None:
        if not key_id.isprintable():
            return None
        statement = SQL(f"UPDATE api_keys SET {assignment} WHERE id = %(id)s RETURNING {{}}").format(_COLUMNS)  # noqa: S608
        async with self._database.connection() as connection:
            rows = await connection.cursor(row_factory=kwargs_row(_key)).execute(statement, {"id": key_id, **values})
            changed = await rows.fetchone()
        self._remembered.clear()
        return changed

    async def find(self, secret: str) -> ApiKey | None:
        """Return the key of a secret; None where there is none, or it was revoked more than 5 s ago."""
        if _SECRET.fullmatch(secret) is None:
            return None
        sha256 = _sha256(secret)
        # Before the question: an answer is never believed longer than that from when it was true.
        now = self._clock.monotonic()
        until, key = self._remembered.get(sha256, (now, None))
        if now < until:
            return key
        key = await self._asked(sha256)
        self._remembered.pop(sha256, None)
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[sha256] = (now + REMEMBERED_SECONDS, key)
        return key

    async def exist(self) -> bool:
        """Tell whether there is any key. One that was revoked counts: to revoke the last one opens nothing."""
        now = self._clock.monotonic()
        if not self._exist and (self._none_until is None or now >= self._none_until):
            async with self._database.connection() as connection:
                found = await connection.execute("SELECT FROM api_keys LIMIT 1")
                self._exist = await found.fetchone() is not None
            self._none_until = now + REMEMBERED_SECONDS
        return self._exist

    async def _asked(self, sha256: bytes) -> ApiKey | None:
        statement = SQL(
            f"SELECT {{}}, {_USED_AGAIN} AS used_again FROM api_keys"  # noqa: S608  (ours)
            " WHERE secret_sha256 = %s AND revoked_at IS NULL"
        ).format(_COLUMNS)
        async with self._database.connection() as connection:
            rows = await connection.cursor(row_factory=kwargs_row(_found)).execute(statement, [sha256])
            found = await rows.fetchone()
        if found is None:
            return None
        key, used_again = found
        if used_again:
            # A database that takes no writes still lets people read.
            with suppress(DatabaseError):
                async with self._database.connection() as connection:
                    await connection.execute(
                        f"UPDATE api_keys SET last_used_at = clock_timestamp() WHERE id = %s AND {_USED_AGAIN}",  # noqa: S608  (ours)
                        [key.id],
                    )
        return key


def _key(*, role: str, budget_per_day: Decimal | None, **columns: Any) -> ApiKey:
    budget = None if budget_per_day is None else float(budget_per_day)
    return ApiKey(role=Role(role), budget_per_day=budget, **columns)


def _found(*, used_again: bool, **columns: Any) -> tuple[ApiKey, bool]:
    return _key(**columns), used_again


def _sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()


def _check(names: dict[str, str], limits: dict[str, float | None]) -> None:
    details: dict[str, str] = {}
    for name, text in names.items():
        if not (text.strip() == text and 0 < len(text) <= MAX_NAME_CHARACTERS and text.isprintable()):
            details[name] = f"Must be 1-{MAX_NAME_CHARACTERS} printable characters"
    for name, limit in limits.items():
        if limit is not None and not 0 < limit <= MAX_LIMIT:
            least = f"{10**-DECIMALS:f}" if name == "budget_per_day" else "1"
            details[name] = f"Must be between {least} and {MAX_LIMIT:,}"
    if details:
        message = "; ".join(f"{name}: {why}" for name, why in details.items())
        raise ValidationError(f"The key cannot be made: {message}", details)
