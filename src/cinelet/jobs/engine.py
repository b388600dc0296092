"""The job engine: Procrastinate on the ledger's database, patient with a server that restarts.

The ledger enqueues (triggers of `sql/0003_work.sql`), so that a generation and its job are one transaction; the engine
hands jobs to workers and notices the ones that died. A job only says "work on this generation", and is never repeated;
another kind says "make an attempt at this delivery" (`sql/0007_webhooks.sql`).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any, LiteralString, Self, TypeVar

import procrastinate
import psycopg
from procrastinate import JobContext, exceptions
from procrastinate.jobs import DeleteJobCondition, Job, Status
from procrastinate.manager import JobManager
from procrastinate.worker import Worker
from psycopg_pool import PoolClosed

from cinelet.clock import Clock, cancel_task
from cinelet.jobs.database import Database
from cinelet.jobs.generation import Generation
from cinelet.jobs.listener import Listener
from cinelet.jobs.rows import CLAIM, ELSEWHERE, claimable, generation_of
from cinelet.observability.logs import get_logger

TASK = "cinelet.generate"
DELIVERY_TASK, DELIVERY_QUEUE = "cinelet.deliver", "webhooks"
HEARTBEAT_SECONDS = 4.0
STALLED_SECONDS = 20.0
"""After so long without a heartbeat a worker counts as gone."""
POLL_SECONDS = 5.0
"""How late a delayed job may begin; all others are announced."""
PATIENCE_SECONDS = 60.0
"""How long a database may be away before the engine gives up and is started anew."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 2.0
QUIET_SECONDS = 1.0
FETCHED_AT_ONCE = 10
"""No more: other workers want some too."""
_LOOK = json.dumps({"type": "job_inserted", "job_id": 0})
"""Makes a worker look for jobs."""

Work = Callable[[str, int | None, Generation | None], Awaitable[bool]]
"""Is told a generation and a lost attempt, and given the generation where it is claimed already; returns whether the
ledger has ended the job with the generation."""
Deliver = Callable[[str], Awaitable[None]]
_OF_GENERATION = "generation."
_LOST_ATTEMPT = "(job.args ->> 'lost_attempt')::integer"
_TAKE = (
    "WITH job AS (SELECT * FROM take_jobs(%(queues)s::varchar[], %(worker_id)s, %(most)s)),"  # noqa: S608  (ours)
    # Never waits for a row with the job in hand: who cancels has that row, and may be waiting for the job.
    " free AS (SELECT generations.id FROM generations JOIN job ON generations.id = job.args ->> 'generation_id'"
    f" WHERE {claimable(_LOST_ATTEMPT)} FOR UPDATE OF generations SKIP LOCKED),"
    f" claimed AS ({CLAIM} FROM free WHERE generations.id = free.id RETURNING generations.*)"
    " SELECT job.id, status, task_name, job.priority, lock, queueing_lock, args, scheduled_at, queue_name,"
    " job.attempts, worker_id, "
    + ", ".join(f'claimed."{column.name}" AS "{_OF_GENERATION}{column.name}"' for column in fields(Generation))
    + " FROM job LEFT JOIN claimed ON claimed.id = job.args ->> 'generation_id' ORDER BY job.priority DESC, job.id"
)
"""Fetches jobs, and claims their generations in the same transaction."""

_Result = TypeVar("_Result")
_logger = get_logger(__name__)


class PatientConnector(procrastinate.PsycopgConnector):
    """Asks again while the database is away. A job that a lost reply named is found by the next look at lost work."""

    def __init__(self, listener: Listener, clock: Clock) -> None:
        super().__init__()
        self._listener = listener
        self._clock = clock

    async def execute_query_async(self, query: LiteralString, **arguments: Any) -> None:
        """Run a statement."""
        await self._patiently(lambda: super(PatientConnector, self).execute_query_async(query, **arguments))

    async def execute_query_one_async(self, query: LiteralString, **arguments: Any) -> dict[str, Any]:
        """Run a statement and return its row."""
        return await self._patiently(lambda: super(PatientConnector, self).execute_query_one_async(query, **arguments))

    async def execute_query_all_async(self, query: LiteralString, **arguments: Any) -> list[dict[str, Any]]:
        """Run a statement and return its rows."""
        return await self._patiently(lambda: super(PatientConnector, self).execute_query_all_async(query, **arguments))

    async def listen_notify(self, on_notification: Any, channels: Iterable[str]) -> None:
        """Pass on what the database announces, for ever."""

        async def hear(channel: str, payload: str | None) -> None:
            await on_notification(channel=channel, payload=payload or _LOOK)

        await self._listener.hear(list(channels), hear)

    async def _patiently(self, ask: Callable[[], Awaitable[_Result]]) -> _Result:
        end, pause = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE_SECONDS
        while True:
            try:
                return await ask()
            except exceptions.ConnectorException as error:
                if not _is_away(error) or time.monotonic() > end:
                    raise
                _logger.info("The database is away", extra={"reason": type(error.__cause__).__name__})
            await self._clock.pause_async(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)


@dataclass(slots=True)
class _Queue:
    """running: jobs that were handed out and have not ended. fetched: those that come next, unless it is `ended`."""

    concurrency: int
    running: int = 0
    ended: bool = False
    fetched: deque[Job] = field(default_factory=deque)


class LedgersJobs(JobManager):
    """Claims the generations of jobs with the jobs, and leaves alone what the ledger has ended already.

    worker: who claims. claimed: the generations of jobs that were fetched, until somebody takes them out. Where one is
    not there, its row was in other hands just then.

    As many jobs are fetched at once as may run, within bounds. What a worker that stops has not begun by then, it gives
    back with all claims that it does not know (`Claims`); what had no claim is found as the work of one that is gone.
    """

    def __init__(self, connector: PatientConnector, *, worker: str) -> None:
        super().__init__(connector)
        self.ended: set[int] = set()
        self.claimed: dict[int, Generation] = {}
        self._worker = worker
        self._queues: dict[str, _Queue] = {}
        self._asking = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    def begin(self, queue: str, *, concurrency: int) -> None:
        """Forget what was fetched of a queue before: so many of its jobs may run now."""
        before = self._queues.get(queue)
        for job in () if before is None else before.fetched:
            self.claimed.pop(job.id or 0, None)
        self._queues[queue] = _Queue(concurrency)

    async def end(self) -> None:
        """Hand nothing out any more, and wait for what is being fetched: it could be what this worker lets go of."""
        for queue in self._queues.values():
            queue.ended = True
        with suppress(TimeoutError):  # the database may be away
            async with asyncio.timeout(QUIET_SECONDS):
                await self._quiet.wait()

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Take the next job and claim what it is for; None where nothing waits."""
        (name,) = queues or ()
        queue = self._queues[name]
        if not (queue.fetched or queue.ended):
            await self._fetch(name, queue, worker_id)
        if queue.ended or not queue.fetched:
            return None
        queue.running += 1
        return queue.fetched.popleft()

    async def _fetch(self, name: str, queue: _Queue, worker_id: int) -> None:
        self._asking += 1
        self._quiet.clear()
        try:
            rows = await self.connector.execute_query_all_async(
                _TAKE,
                queues=[name],
                worker_id=worker_id,
                most=max(1, min(queue.concurrency - queue.running, FETCHED_AT_ONCE)),
                worker=self._worker,
                elsewhere=ELSEWHERE,
            )
            queue.fetched.extend(self._job(row) for row in rows)
        finally:
            self._asking -= 1
            if not self._asking:
                self._quiet.set()

    def _job(self, row: dict[str, Any]) -> Job:
        generation = {
            name.removeprefix(_OF_GENERATION): value for name, value in row.items() if name.startswith(_OF_GENERATION)
        }
        if generation["id"] is not None:
            self.claimed[row["id"]] = generation_of(**generation)
        return Job.from_row(row)

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:  # noqa: FBT001  (Procrastinate's)
        """Remove a job that did nothing; the log has its status."""
        del status, delete_job
        self._queues[job.queue].running -= 1
        if job.id in self.ended:
            self.ended.discard(job.id)
            return
        await self.connector.execute_query_async("DELETE FROM procrastinate_jobs WHERE id = %(id)s", id=job.id)


class Engine:
    """Hands the jobs of queues on, until it is cancelled.

    work: is told the generation and a lost attempt. deliver: is told the delivery. worker: who claims generations.
    """

    def __init__(self, database: Database, work: Work, deliver: Deliver, *, worker: str, clock: Clock) -> None:
        self._database = database
        self.listener = Listener(database, clock=clock)
        connector = PatientConnector(self.listener, clock)
        self._app = procrastinate.App(connector=connector)
        self._app.job_manager = self._jobs = jobs = LedgersJobs(connector, worker=worker)

        @self._app.task(name=TASK, pass_context=True)
        async def generate(context: JobContext, generation_id: str, lost_attempt: int | None = None) -> None:
            number = context.job.id or 0
            if await work(generation_id, lost_attempt, jobs.claimed.pop(number, None)):
                jobs.ended.add(number)

        @self._app.task(name=DELIVERY_TASK)
        async def make_attempt(delivery_id: str) -> None:
            await deliver(delivery_id)

    async def __aenter__(self) -> Self:
        await self._app.open_async(self._database.pool)
        self._listening = asyncio.create_task(self.listener.run(), name="listener")
        return self

    async def __aexit__(self, *exception: object) -> None:
        await cancel_task(self._listening)
        await self._app.close_async()

    async def end(self) -> None:
        """Take no more jobs; once this returns, none is on its way either, unless the database is away."""
        await self._jobs.end()

    async def run(self, queue: str, *, concurrency: int) -> None:
        """Take jobs of a queue, so many at once. A cancel, or more, takes no new ones and waits for those that run."""
        self._jobs.begin(queue, concurrency=concurrency)
        worker = Worker(
            self._app,
            queues=[queue],
            name=queue,
            concurrency=concurrency,
            fetch_job_polling_interval=POLL_SECONDS,
            # Nobody aborts jobs of the engine: a cancel is the ledger's.
            abort_job_polling_interval=3600.0,
            update_heartbeat_interval=HEARTBEAT_SECONDS,
            stalled_worker_timeout=STALLED_SECONDS,
            delete_jobs=DeleteJobCondition.ALWAYS,
            install_signal_handlers=False,
        )
        working = asyncio.create_task(worker.run(), name=f"engine {queue}")  # type: ignore[no-untyped-call]
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            # Not by a cancel alone: one that meets the database's answer is lost (see `cancel_task`), and another one,
            # later, would end the jobs that run.
            worker.stop()  # type: ignore[no-untyped-call]
            if worker.worker_id is None:  # the database may be away
                working.cancel()
            while not working.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({working})
            await asyncio.gather(working, return_exceptions=True)
            raise


def _is_away(error: exceptions.ConnectorException) -> bool:
    cause = error.__cause__
    # A pool that we closed does not come back.
    return isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError)) and not isinstance(cause, PoolClosed)
