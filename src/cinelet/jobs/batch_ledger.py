"""The tables of batches.

A batch and its lines are written at once; the lines become generations in pieces, by whoever comes first: the process
that took them, or a worker's next look around. Nothing is held meanwhile, and no kill leaves half a batch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection

from cinelet.jobs.batch import PREFIX, Batch, BatchLine, BatchPage, NewLine, is_batch_id
from cinelet.jobs.database import Database
from cinelet.jobs.errors import IdempotencyConflictError
from cinelet.jobs.generation import Position, new_id
from cinelet.jobs.idempotency import request_hash
from cinelet.jobs.ledger import IMAGE_KEY
from cinelet.jobs.rows import CANCEL, COLUMNS, as_json, generation_of
from cinelet.jobs.searching import folded_prompt
from cinelet.jobs.states import State
from cinelet.jobs.usage import asked_seconds
from cinelet.observability import metrics
from cinelet.observability.tracing import traceparent

PIECE = 200
"""So many lines become generations, or are cancelled, in one transaction."""
LINES_A_READ = 100
_FINAL = [state.value for state in State if state.final]
_OPEN = frozenset(state.value for state in State if not state.final)
_CANCELLED = {"code": "cancelled", "message": "The batch was cancelled before this line had begun", "retryable": False}

_STATE = (
    "CASE WHEN line.ended_as IS NOT NULL THEN line.ended_as WHEN made.id IS NOT NULL THEN made.state"
    " WHEN waiting.position IS NOT NULL THEN 'queued' ELSE 'deleted' END"
)
_LINES = (
    " FROM batch_lines line LEFT JOIN generations made ON made.id = line.generation_id"
    " LEFT JOIN batch_requests waiting ON waiting.batch_id = line.batch_id AND waiting.line_number = line.number"
)
_BATCH = "id, owner, metadata, cancelled_at, created_at, finished_at, counts"


class BatchLedger:
    """The tables of batches. Every method is one or a few short transactions, safe to use from many processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(
        self,
        lines: Sequence[NewLine],
        *,
        owner: str,
        metadata: Mapping[str, str],
        sent_hash: bytes,
        idempotency_key: str | None,
        standing_webhook_url: str | None = None,
        connection: AsyncConnection[Any],
    ) -> tuple[str, bool]:
        """Add a batch; return its id, and whether it is new. Durable when `connection` commits.

        sent_hash: of what the client sent. standing_webhook_url: for lines that name nobody. Raises
        `IdempotencyConflictError` where the key has another.
        """
        values = {
            "id": new_id(PREFIX),
            "owner": owner,
            "metadata": as_json(metadata),
            "key": idempotency_key,
            "hash": sent_hash,
        }
        created = await connection.execute(
            "INSERT INTO batches (id, owner, metadata, idempotency_key, request_hash)"
            " VALUES (%(id)s, %(owner)s, %(metadata)s, %(key)s, %(hash)s)"
            " ON CONFLICT (owner, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING RETURNING id",
            values,
        )
        if await created.fetchone() is None:
            found = await self._known(connection, owner=owner, key=str(idempotency_key), sent_hash=sent_hash)
            assert found is not None  # noqa: S101  (it is why nothing was inserted, and batches are not deleted)
            return found, False
        ids = {line.number: new_id() for line in lines if line.error is None}
        trace = traceparent()
        await _copy(
            connection,
            "batch_lines (batch_id, number, custom_id, generation_id, ended_as, error)",
            (
                (
                    values["id"],
                    line.number,
                    line.custom_id,
                    ids.get(line.number),
                    None if line.error is None else State.FAILED.value,
                    None if line.error is None else json.dumps(line.error),
                )
                for line in lines
            ),
        )
        await _copy(
            connection,
            "batch_requests (batch_id, line_number, generation_id, owner, request, requested_model, queue, priority,"
            " cache_key, image_key, webhook_url, video_seconds, charged_cost, request_hash, folded, traceparent)",
            (
                (
                    values["id"],
                    line.number,
                    ids[line.number],
                    owner,
                    json.dumps(line.request, allow_nan=False),
                    line.requested_model,
                    line.queue,
                    line.priority,
                    line.cache_key,
                    line.request.get(IMAGE_KEY),
                    line.webhook_url or standing_webhook_url,
                    asked_seconds(line.request),
                    line.reserved_cost,
                    request_hash(line.request, line.requested_model),
                    folded_prompt(line.request),
                    trace,
                )
                for line in lines
                if line.error is None
            ),
        )
        return str(values["id"]), True

    async def known(self, *, owner: str, key: str, sent_hash: bytes) -> str | None:
        """Return the id of the batch that an idempotency key has made, or None; raises `IdempotencyConflictError`."""
        async with self._database.connection() as connection:
            return await self._known(connection, owner=owner, key=key, sent_hash=sent_hash)

    async def _known(self, connection: AsyncConnection[Any], *, owner: str, key: str, sent_hash: bytes) -> str | None:
        rows = await connection.execute(
            "SELECT id, request_hash FROM batches WHERE owner = %s AND idempotency_key = %s", [owner, key]
        )
        found = await rows.fetchone()
        if found is None:
            return None
        if bytes(found[1]) != sent_hash:
            raise IdempotencyConflictError
        return str(found[0])

    async def make_generations(self) -> int:
        """Make generations of all lines that wait to be some; return how many. Any number of processes may do so."""
        made = 0
        while True:
            async with self._database.connection() as connection:
                rows = await connection.execute("SELECT make_generations_of_batches(%s)", [PIECE])
                (count,) = await rows.fetchone() or (0,)
            made += count
            if not count:
                return made

    async def get(self, batch_id: str, *, owner: str | None = None) -> Batch | None:
        """Return a batch; None where there is no such one of this owner (None: of any)."""
        if not is_batch_id(batch_id):
            return None
        async with self._database.connection() as connection:
            rows = await connection.execute(
                f"SELECT {_BATCH} FROM batches WHERE id = %s AND owner = coalesce(%s, owner)",  # noqa: S608  (ours)
                [batch_id, owner],
            )
            found = await _with_counts(connection, await rows.fetchall())
        return found[0] if found else None

    async def list(self, *, owner: str | None = None, after: Position | None = None, limit: int = 20) -> BatchPage:
        """Return a page, the newest first."""
        conditions = [
            *(["owner = %(owner)s"] if owner is not None else []),
            *(["(created_at, id) < (%(time)s, %(id)s)"] if after is not None else []),
        ]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        statement = f"SELECT {_BATCH} FROM batches{where} ORDER BY created_at DESC, id DESC LIMIT %(rows)s"  # noqa: S608
        values = {
            "owner": owner,
            "time": after and after.created_at,
            "id": after and after.id,
            "rows": limit + 1,
        }
        async with self._database.connection() as connection:
            found = await (await connection.execute(statement.encode(), values)).fetchall()
            shown = await _with_counts(connection, found[:limit])
        last = shown[-1] if len(found) > limit else None
        return BatchPage(tuple(shown), None if last is None else Position(last.created_at, last.id))

    async def lines(self, batch_id: str, *, after: int = 0, limit: int = LINES_A_READ) -> Sequence[BatchLine]:
        """Return lines in their order, those that come after a number."""
        columns = ", ".join(f"made.{name}" for name in COLUMNS.split(", "))
        statement = (
            f"SELECT line.number, line.custom_id, {_STATE}, line.generation_id, line.error, {columns}{_LINES}"
            " WHERE line.batch_id = %s AND line.number > %s ORDER BY line.number LIMIT %s"
        )
        async with self._database.connection() as connection:
            rows = await (await connection.execute(statement.encode(), [batch_id, after, limit])).fetchall()
        names = [name.strip('"') for name in COLUMNS.split(", ")]
        return [
            BatchLine(
                number,
                custom_id,
                state,
                generation_id,
                None if generation[0] is None else generation_of(**dict(zip(names, generation, strict=True))),
                error,
            )
            for number, custom_id, state, generation_id, error, *generation in rows
        ]

    async def request_cancel(self, batch_id: str) -> None:
        """Ask to stop every line: what waits is cancelled at once, what runs is marked, what has ended stays so."""
        async with self._database.connection() as connection, connection.transaction():
            # Waits for whoever makes generations of some just now; those are found below.
            await connection.execute(
                "WITH dropped AS (DELETE FROM batch_requests WHERE batch_id = %(id)s RETURNING line_number)"
                " UPDATE batch_lines SET generation_id = NULL, ended_as = 'cancelled', error = %(error)s"
                " FROM dropped WHERE batch_id = %(id)s AND number = line_number",
                {"id": batch_id, "error": as_json(_CANCELLED)},
            )
            await connection.execute(
                "UPDATE batches SET cancelled_at = coalesce(cancelled_at, clock_timestamp()) WHERE id = %s", [batch_id]
            )
        while True:
            async with self._database.connection() as connection:
                cancelled = await connection.execute(
                    f"UPDATE generations SET {CANCEL} WHERE id IN (SELECT made.id"  # noqa: S608  (ours)
                    " FROM batch_lines JOIN generations made ON made.id = generation_id"
                    " WHERE batch_id = %(id)s AND NOT cancel_requested AND NOT state = ANY(%(final)s)"
                    " ORDER BY number LIMIT %(piece)s FOR UPDATE OF made) RETURNING queue, state",
                    {"id": batch_id, "final": _FINAL, "piece": PIECE},
                )
                marked = await cancelled.fetchall()
            for queue, state in marked:
                if state == "cancelled":
                    metrics.ended(queue, state)
            if not marked:
                return


async def lock_images(connection: AsyncConnection[Any], keys: Iterable[str]) -> None:
    """Let nobody remove these images from the store until the transaction of `connection` ends."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock_shared(lock) FROM"
        " (SELECT DISTINCT hashtextextended(key, 1) AS lock FROM unnest(%s::text[]) key ORDER BY lock) locks",
        [sorted(keys)],
    )


async def _with_counts(connection: AsyncConnection[Any], rows: Sequence[Sequence[Any]]) -> list[Batch]:
    """Return the batches of rows. What is over is counted for the last time, and that is written down."""
    counting = await connection.execute(
        f"SELECT line.batch_id, {_STATE}, count(*), max(made.finished_at){_LINES}"
        " WHERE line.batch_id = ANY(%s) GROUP BY 1, 2",
        [[row[0] for row in rows if row[-1] is None]],
    )
    found: dict[str, list[tuple[str, int, datetime | None]]] = {}
    for batch_id, state, count, ended_at in await counting.fetchall():
        found.setdefault(batch_id, []).append((state, count, ended_at))
    batches = []
    for batch_id, owner, metadata, cancelled_at, created_at, finished_at, counts in rows:
        end, final = finished_at, counts
        if final is None:
            counted = found.get(batch_id, [])
            final = {state: count for state, count, _ in counted}
            if not _OPEN & final.keys():
                end = max([ended_at for *_, ended_at in counted if ended_at] or [cancelled_at or created_at])
                # A database that takes no writes still lets people read.
                with suppress(psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.DiskFull):
                    await connection.execute(
                        "UPDATE batches SET counts = %s, finished_at = %s WHERE id = %s AND finished_at IS NULL",
                        [as_json(final), end, batch_id],
                    )
        batches.append(
            Batch(
                id=batch_id,
                owner=owner,
                metadata=metadata,
                counts=final,
                cancelled_at=cancelled_at,
                created_at=created_at,
                finished_at=end,
            )
        )
    return batches


async def _copy(connection: AsyncConnection[Any], into: str, rows: Iterable[Sequence[Any]]) -> None:
    async with connection.cursor().copy(f"COPY {into} FROM STDIN".encode()) as copy:
        for row in rows:
            await copy.write_row(row)
