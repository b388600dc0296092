"""Orders to workers: to have a model loaded, or to let it go; a row for each worker that is to do it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import class_row

from cinelet.domain.backend import nothing_is_loaded
from cinelet.domain.errors import CineletError
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Progress
from cinelet.jobs.database import Database
from cinelet.jobs.errors import NoWorkerError, WorkerLostError
from cinelet.jobs.roster import HEARD_OF_SECONDS, Roster
from cinelet.jobs.rows import as_json

LOCAL_QUEUE = "local"
FORGET_SECONDS = 3600.0
TIMEOUT_SECONDS = 3600.0
"""What an order has by default, a download and the wait for a turn included."""

Action = Literal["load", "unload"]


@dataclass(frozen=True, slots=True)
class Order:
    """What one worker is to do, and how far it is. step, steps: of the stage, such as bytes that are downloaded.

    result: of a load, what `LoadedModel` has and the `seconds` it took; of an unload, whether it was `unloaded`.
    """

    id: str
    worker: str
    action: Action
    model: str
    timeout_seconds: float
    state: Literal["waiting", "running", "done", "failed"]
    stage: str | None
    step: int
    steps: int
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to come."""
        return self.state in {"done", "failed"}


_COLUMNS = ", ".join(column.name for column in fields(Order))


class Orders:
    """The table of orders. queue_of: the queue of a model reference."""

    def __init__(self, database: Database, *, queue_of: Callable[[str], str]) -> None:
        self._database = database
        self._queue_of = queue_of

    async def give(self, action: Action, model: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Sequence[Order]:
        """Tell every worker for local models, and return what each is to do; they have one id.

        Raises `ValidationError`, `ModelUnsupportedError` for a model that runs elsewhere, and `NoWorkerError`.
        """
        reference = ModelReference.parse(model)
        if self._queue_of(str(reference)) != LOCAL_QUEUE:
            raise nothing_is_loaded(reference)
        workers = [worker.name for worker in await Roster(self._database).list() if LOCAL_QUEUE in worker.report.queues]
        if not workers:
            raise NoWorkerError
        async with self._database.connection() as connection:
            rows = await connection.cursor(row_factory=class_row(Order)).execute(
                "INSERT INTO model_orders (id, worker, action, model, timeout_seconds)"  # noqa: S608  (names of ours)
                f" SELECT %s, name, %s, %s, %s FROM unnest(%s::text[]) AS name RETURNING {_COLUMNS}",
                [f"ord_{secrets.token_hex(12)}", action, str(reference), timeout_seconds, workers],
            )
            return sorted(await rows.fetchall(), key=lambda order: order.worker)

    async def get(self, order_id: str) -> Sequence[Order]:
        """Return what each worker is to do, by their names; nothing where there is no such order, or no more."""
        await self.settle()
        async with self._database.connection() as connection:
            rows = await connection.cursor(row_factory=class_row(Order)).execute(
                f"SELECT {_COLUMNS} FROM model_orders WHERE id = %s ORDER BY worker",  # noqa: S608  (as above)
                [order_id.replace("\0", "")],
            )
            return await rows.fetchall()

    async def next_of(self, worker: str) -> tuple[Order, float] | None:
        """Begin the oldest order of a worker, and return it with the seconds that it has left.

        The worker does one at a time: another that it has begun is one of which it never heard.
        """
        async with self._database.connection() as connection, connection.transaction():
            rows = await connection.cursor(row_factory=class_row(Order)).execute(
                "UPDATE model_orders SET state = 'running', started_at = clock_timestamp() WHERE (id, worker) = ("  # noqa: S608
                "  SELECT id, worker FROM model_orders WHERE worker = %s AND state IN ('waiting', 'running')"
                f"  ORDER BY created_at, id LIMIT 1) RETURNING {_COLUMNS}",
                [worker],
            )
            order = await rows.fetchone()
        if order is None or order.started_at is None:
            return None
        waited = (order.started_at - order.created_at).total_seconds()
        return order, max(0.0, order.timeout_seconds - waited)

    async def progress(self, order: Order, progress: Progress) -> None:
        """Note how far a worker is."""
        await self._write(
            order,
            "stage = %(stage)s, step = %(step)s, steps = %(steps)s",
            {"stage": str(progress.stage), "step": progress.step, "steps": progress.steps},
        )

    async def end(self, order: Order, result: Mapping[str, Any] | CineletError) -> None:
        """Note what became of it."""
        failed = isinstance(result, CineletError)
        await self._write(
            order,
            "state = %(state)s, result = %(result)s, error = %(error)s, ended_at = clock_timestamp()",
            {
                "state": "failed" if failed else "done",
                "result": None if isinstance(result, CineletError) else as_json(result),
                "error": as_json(result.to_dict()) if isinstance(result, CineletError) else None,
            },
        )

    async def settle(self) -> None:
        """End the orders of workers that are gone, and forget those of the past."""
        lost = as_json(WorkerLostError().to_dict())
        async with self._database.connection() as connection:
            await connection.execute("SELECT settle_orders(%s, %s, %s)", [lost, HEARD_OF_SECONDS, FORGET_SECONDS])

    async def _write(self, order: Order, what: str, values: Mapping[str, Any]) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                f"UPDATE model_orders SET {what}"  # noqa: S608  (columns of ours)
                " WHERE id = %(id)s AND worker = %(worker)s AND state = 'running'".encode(),
                {**values, "id": order.id, "worker": order.worker},
            )
