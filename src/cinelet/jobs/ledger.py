"""The one source of truth about every generation.

A worker claims a generation and gets an attempt number, which all that it writes must carry. Whoever claims it later
gets a higher one; from then on the earlier worker, frozen or cut off, can write nothing: it gets `ClaimLostError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from typing import Any, LiteralString, Unpack

from psycopg import AsyncConnection
from psycopg.rows import kwargs_row
from psycopg.sql import Composed

from cinelet.domain.errors import ValidationError
from cinelet.domain.progress import Progress
from cinelet.jobs.counting import count_end
from cinelet.jobs.database import Database
from cinelet.jobs.errors import ClaimLostError, IdempotencyConflictError
from cinelet.jobs.generation import Generation, Inserted, Page, Position, is_id, new_id
from cinelet.jobs.glimpses import COUNT, KEEP
from cinelet.jobs.idempotency import check_key, is_storable, request_hash
from cinelet.jobs.listing import Filters, listing
from cinelet.jobs.outcomes import ALSO, NOTHING_TRIED, Tried
from cinelet.jobs.rows import (
    CANCEL,
    CLAIM,
    COLUMNS,
    ELSEWHERE,
    INSERT,
    RETURNING,
    as_json,
    claimable,
    generation_of,
    one,
)
from cinelet.jobs.searching import folded_prompt
from cinelet.jobs.states import State
from cinelet.jobs.usage import CHARGE, asked_seconds, charge_of
from cinelet.observability.tracing import traceparent

IMAGE_KEY, VIDEO_KEY = "image_key", "blob"
"""Of a request and of a result: where the bytes are in the store."""
UNFINISHED_PROGRESS = 0.99
"""The most that a running generation can show: 1 means stored."""

_CLAIMED = " WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'in_progress'"
_FINAL = [state.value for state in State if state.final]


class JobLedger:
    """The table of generations. Every method is one short transaction, and safe to use from many processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(
        self,
        request: Mapping[str, Any],
        *,
        owner: str,
        requested_model: str,
        idempotency_key: str | None = None,
        queue: str = "remote",
        priority: int = 0,
        not_before: datetime | None = None,
        cache_key: str | None = None,
        handle: Mapping[str, Any] | None = None,
        webhook_url: str | None = None,
        reserved_cost: float | None = None,
        connection: AsyncConnection[Any] | None = None,
    ) -> Inserted:
        """Add a generation, and enqueue it: it is durable when this returns, or when `connection` commits.

        request: JSON values. cache_key: what identical requests share; one that comes while another is in flight
        follows that one, and is enqueued when that has ended. handle: of a job that goes on. webhook_url: who is told
        of its end. reserved_cost: what it may cost, None where nobody knows. The same idempotency key of the same owner
        gives the generation that it made first, and raises `IdempotencyConflictError` where the request is another.
        """
        if not is_storable(requested_model):
            raise ValidationError("A model's name has printable characters only", {"model": "Not printable"})
        if idempotency_key is not None:
            check_key(idempotency_key)
        values = {
            "id": new_id(),
            "owner": owner,
            "request": as_json(request),
            "requested_model": requested_model,
            "queue": queue,
            "priority": priority,
            "not_before": not_before,
            "cache_key": cache_key,
            "handle": as_json(handle),
            "image_key": request.get(IMAGE_KEY),
            "video_seconds": asked_seconds(request),
            "charged_cost": reserved_cost,
            "idempotency_key": idempotency_key,
            "request_hash": request_hash(request, requested_model),
            "webhook_url": webhook_url,
            "folded": folded_prompt(request),
            "traceparent": traceparent(),
        }
        async with self._connection(connection) as opened:
            while True:
                created = await one(opened, INSERT, values)
                if created is not None:
                    return Inserted(created, created=True)
                # A later snapshot: the one that came first has committed. It may be deleted before we look; then again.
                found = await one(
                    opened,
                    f"SELECT {COLUMNS} FROM generations WHERE owner = %(owner)s"  # noqa: S608  (ours; so below)
                    " AND idempotency_key = %(idempotency_key)s AND request_hash = %(request_hash)s"
                    " AND priority = %(priority)s",
                    values,
                )
                if found is not None:
                    return Inserted(found, created=False)
                taken = await opened.execute(
                    "SELECT FROM generations WHERE owner = %(owner)s AND idempotency_key = %(idempotency_key)s", values
                )
                if await taken.fetchone() is not None:
                    raise IdempotencyConflictError

    async def claim(self, generation_id: str, *, worker: str, lost_attempt: int | None = None) -> Generation | None:
        """Take a generation to work on; `attempt` of what is returned is the number to write with.

        None where it is not waiting, or not yet due. lost_attempt: of a worker that is known to be gone, whose claim
        may be taken; this counts as a crash, unless a provider was at work, which no worker dies of. Look at
        `cancel_requested` before working, and at `handle` to resume.
        """
        return await self._one(
            f"{CLAIM} WHERE id = %(id)s AND {claimable('%(lost_attempt)s')}",
            {"id": generation_id, "worker": worker, "lost_attempt": lost_attempt, "elsewhere": ELSEWHERE},
        )

    async def save_handle(self, generation_id: str, attempt: int, handle: Mapping[str, Any] | None) -> None:
        """Keep what a provider gave us, or None to forget it; durable when this returns. Raises `ClaimLostError`."""
        await self._noted(generation_id, attempt, "handle = %(handle)s", handle=as_json(handle))

    async def progress(
        self, generation_id: str, attempt: int, progress: Progress, *, eta_seconds: float | None = None
    ) -> bool:
        """Note how far the work is, and return whether somebody asked to stop it. Raises `ClaimLostError`.

        The number only grows, also over attempts. eta_seconds: until the end of the stage, where that is known.
        """
        picture = progress.preview
        return await self._noted(
            generation_id,
            attempt,
            "progress = greatest(progress, least(%(progress)s, %(most)s)), stage = %(stage)s, step = %(step)s,"
            " steps = %(steps)s, note = %(note)s, eta_seconds = %(eta_seconds)s" + ("" if picture is None else COUNT),
            also="" if picture is None else KEEP,
            picture=picture,
            progress=progress.fraction,
            most=UNFINISHED_PROGRESS,
            stage=progress.stage.value,
            step=progress.step,
            steps=progress.steps,
            note=progress.note,
            eta_seconds=eta_seconds,
        )

    async def complete(
        self,
        generation_id: str,
        attempt: int,
        *,
        model: str,
        result: Mapping[str, Any],
        tried: Tried = NOTHING_TRIED,
    ) -> None:
        """Note that the video is stored. Raises `ClaimLostError`, also where it has ended another way before."""
        await self._write(
            generation_id,
            attempt,
            "state = 'completed', progress = 1, model = %(model)s, result = %(result)s, attempts = %(attempts)s,"
            f" video_key = %(video_key)s, {CHARGE},"
            " handle = NULL, worker = NULL, eta_seconds = NULL, finished_at = clock_timestamp()",
            model=model,
            result=as_json(result),
            video_key=result.get(VIDEO_KEY),
            tried=tried,
            **charge_of(result),
        )

    async def fail(
        self,
        generation_id: str,
        attempt: int,
        *,
        error: Mapping[str, Any],
        tried: Tried = NOTHING_TRIED,
    ) -> None:
        """Note why it failed for good. The handle stays, for whoever looks into it. Raises `ClaimLostError`."""
        await self._write(
            generation_id,
            attempt,
            "state = 'failed', error = %(error)s, attempts = %(attempts)s, worker = NULL,"
            " finished_at = clock_timestamp()",
            code=error.get("code"),
            error=as_json(error),
            tried=tried,
        )

    async def cancel(self, generation_id: str, attempt: int, *, tried: Tried = NOTHING_TRIED) -> None:
        """Note that the worker has stopped because somebody asked for it. Raises `ClaimLostError`."""
        await self._write(
            generation_id,
            attempt,
            "state = 'cancelled', attempts = %(attempts)s, worker = NULL, finished_at = clock_timestamp()",
            tried=tried,
        )

    async def release(self, generation_id: str, attempt: int) -> None:
        """Give the generation back to the queue; no crash is counted. Raises `ClaimLostError`.

        One that was to be cancelled ends so, unless a provider works on it: then the next worker cancels it there.
        """
        await self._write(
            generation_id,
            attempt,
            "state = CASE WHEN cancel_requested AND handle IS NULL THEN 'cancelled' ELSE 'queued' END,"
            " finished_at = CASE WHEN cancel_requested AND handle IS NULL THEN clock_timestamp() END, worker = NULL",
        )

    async def request_cancel(self, generation_id: str, *, owner: str | None = None) -> Generation | None:
        """Ask to stop: what waits is cancelled at once, what runs is marked, what has ended stays as it is.

        None where there is no such generation of this owner (None: of any).
        """
        cancelled = await self._one(
            f"UPDATE generations SET {CANCEL}"  # noqa: S608  (ours)
            " WHERE id = %(id)s AND owner = coalesce(%(owner)s, owner) AND NOT state = ANY(%(final)s)",
            {"id": generation_id, "owner": owner, "final": _FINAL},
        )
        if cancelled is not None:
            made_by = cancelled.model or cancelled.requested_model
            count_end(cancelled.queue, cancelled.state, model=made_by)
        return cancelled or await self.get(generation_id, owner=owner)

    async def position(self, generation_id: str) -> int | None:
        """Return how many generations wait before this one in its queue; None where it does not wait."""
        return await self._number(
            "SELECT (SELECT count(*) FROM generations other WHERE other.queue = own.queue"
            " AND other.state = 'queued' AND (other.priority > own.priority"
            " OR (other.priority = own.priority AND other.created_at < own.created_at)))"
            " FROM generations own WHERE own.id = %s AND own.state = 'queued'",
            generation_id,
        )

    async def waiting(self, *, at_most: int) -> int:
        """Return how many generations wait, those of batches that are still to be made among them, up to `at_most`."""
        counted = await self._number(
            "SELECT count(*) FROM (SELECT FROM generations WHERE state = 'queued'"
            " UNION ALL SELECT FROM batch_requests LIMIT %s) counted",
            at_most,
        )
        return counted or 0

    async def get(self, generation_id: str, *, owner: str | None = None) -> Generation | None:
        """Return a generation; None where there is no such one of this owner (None: of any)."""
        if not is_id(generation_id):
            return None
        statement = f"SELECT {COLUMNS} FROM generations WHERE id = %(id)s AND owner = coalesce(%(owner)s, owner)"  # noqa: S608
        async with self._database.connection() as connection:
            return await one(connection, statement, {"id": generation_id, "owner": owner})

    async def find_same(
        self, request: Mapping[str, Any], *, owner: str, requested_model: str, within_seconds: float
    ) -> Generation | None:
        """Return the newest generation of the very same request that the owner made so lately, or None."""
        statement = (
            f"SELECT {COLUMNS} FROM generations WHERE owner = %(owner)s AND request_hash = %(hash)s"  # noqa: S608
            " AND created_at > clock_timestamp() - make_interval(secs => %(seconds)s)"
            " ORDER BY created_at DESC, id DESC LIMIT 1"
        )
        values = {"owner": owner, "hash": request_hash(request, requested_model), "seconds": within_seconds}
        async with self._database.connection() as connection:
            return await one(connection, statement, values)

    async def uses(self, key: str, *, connection: AsyncConnection[Any] | None = None) -> bool:
        """Tell whether a generation has this image or this video."""
        async with self._connection(connection) as opened:
            found = await opened.execute(
                "SELECT FROM generations WHERE image_key = %(key)s UNION ALL"
                " SELECT FROM generations WHERE video_key = %(key)s UNION ALL"
                " SELECT FROM batch_requests WHERE image_key = %(key)s LIMIT 1",
                {"key": key},
            )
            return await found.fetchone() is not None

    async def get_all(self, generation_ids: Sequence[str]) -> dict[str, Generation]:
        """Return those of the generations that there are, by id."""
        statement = f"SELECT {COLUMNS} FROM generations WHERE id = ANY(%s)".encode()  # noqa: S608
        found = await self._all(statement, [[name for name in generation_ids if is_id(name)]])
        return {generation.id: generation for generation in found}

    async def list(self, *, limit: int = 50, **filters: Unpack[Filters]) -> Page:
        """Return a page, the newest first if not told otherwise; of all generations, or those that pass the filters."""
        if not all(is_storable(name) for name in (filters.get("model"), filters.get("batch")) if name is not None):
            return Page((), None)
        found = await self._all(*listing(limit=limit, **filters))
        shown = tuple(found[:limit])
        return Page(shown, Position(shown[-1].created_at, shown[-1].id) if len(found) > limit else None)

    async def delete(self, generation_id: str, *, owner: str | None = None) -> bool:
        """Forget a generation that has ended; False where there is none. Raises `ValidationError` while it goes on."""
        deleted = await self._one(
            "DELETE FROM generations WHERE id = %(id)s AND owner = coalesce(%(owner)s, owner)"
            " AND state = ANY(%(final)s)",
            {"id": generation_id, "owner": owner, "final": _FINAL},
        )
        if deleted is not None:
            return True
        running = await self.get(generation_id, owner=owner)
        if running is None:
            return False
        message = f"{generation_id} is {running.state}; cancel it before deleting it"
        raise ValidationError(message, {"id": "Has not ended"})

    async def _noted(
        self, generation_id: str, attempt: int, assignments: str, *, also: str = "", **values: Any
    ) -> bool:
        """Change a detail, if this attempt still has the claim; return whether somebody asked to stop.

        also: what else is done then, as a part of the statement that may read `noted`.
        """
        async with self._database.connection() as connection:
            written = await connection.execute(
                f"WITH noted AS (UPDATE generations SET {assignments}{_CLAIMED}"  # noqa: S608
                f" RETURNING id, cancel_requested){also} SELECT cancel_requested FROM noted".encode(),
                {"id": generation_id, "attempt": attempt, **values},
            )
            row = await written.fetchone()
        if row is None:
            raise ClaimLostError(generation_id, attempt)
        return bool(row[0])

    async def _write(
        self,
        generation_id: str,
        attempt: int,
        assignments: str,
        *,
        tried: Tried = NOTHING_TRIED,
        code: str | None = None,
        **values: Any,
    ) -> None:
        """Change the generation, and note how its attempts ended, if this attempt still has the claim.

        code: of the error that it ends with.
        """
        told = "queue, state, coalesce(model, requested_model)"
        statement = f"UPDATE generations SET {assignments}{_CLAIMED}"  # noqa: S608
        values |= {"id": generation_id, "attempt": attempt, "attempts": as_json(list(tried.attempts))}
        if tried.outcomes:
            statement = f"WITH written AS ({statement}{RETURNING}){ALSO} SELECT {told} FROM written"  # noqa: S608
            values |= tried.values
        else:
            statement += f" RETURNING {told}"
        row = None
        if is_id(generation_id):
            async with self._database.connection() as connection:
                row = await (await connection.execute(statement.encode(), values)).fetchone()
        if row is None:
            raise ClaimLostError(generation_id, attempt)
        queue, state, model = row
        count_end(queue, State(state), model=model, code=code)

    async def _one(self, statement: str, values: Mapping[str, Any]) -> Generation | None:
        """Run a statement on one generation and return it as it is then, or None where it applied to none."""
        if not is_id(values["id"]):
            return None
        async with self._database.connection() as connection:
            return await one(connection, statement + RETURNING, values)

    async def _all(self, statement: bytes | Composed, values: Any) -> Sequence[Generation]:
        async with self._database.connection() as connection:
            rows = connection.cursor(row_factory=kwargs_row(generation_of))
            return await (await rows.execute(statement, values)).fetchall()

    async def _number(self, statement: LiteralString, value: str | int) -> int | None:
        async with self._database.connection() as connection:
            row = await (await connection.execute(statement, [value])).fetchone()
        return None if row is None else int(row[0])

    def _connection(self, given: AsyncConnection[Any] | None) -> AbstractAsyncContextManager[AsyncConnection[Any]]:
        return self._database.connection() if given is None else nullcontext(given)
