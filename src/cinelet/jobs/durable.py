"""Everything that durable work needs, opened and closed together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cinelet.domain.request import Task
from cinelet.domain.selection import Selects
from cinelet.jobs.batch_queue import BatchQueue
from cinelet.jobs.courier import Courier
from cinelet.jobs.database import CONNECTIONS, SCHEMA, Database
from cinelet.jobs.deliveries import Deliveries
from cinelet.jobs.events import Events
from cinelet.jobs.ledger import JobLedger
from cinelet.jobs.orders import Orders
from cinelet.jobs.outcomes import Recorder
from cinelet.jobs.performances import SharedKnowledge
from cinelet.jobs.previews import Previews
from cinelet.jobs.queue import JobQueue
from cinelet.jobs.roster import Roster
from cinelet.jobs.worker import Worker
from cinelet.service import VideoService
from cinelet.storage.blobs import BlobStore


@dataclass(frozen=True, slots=True)
class Settings:
    """What durable work is set up with. Nothing is opened or loaded before it is asked for.

    database_url: None for the private server of the data directory. queue_of: the queue of a model reference.
    deadline_seconds: for a generation, None for no limit. allow_private_webhooks: whether a receiver may be inside a
    network. together: how many local generations that are alike may be one run. previews: whether pictures of what is
    being made are shown. schema: of the database. preload: models that a worker for local models loads at its start.
    recorder: of how attempts at models end. fallbacks: the models that may step in, for each task.
    """

    database_url: str | None
    data_directory: Path
    make_service: Callable[[], VideoService]
    open_store: Callable[[], BlobStore]
    queue_of: Callable[[str], str]
    max_waiting: int
    deadline_seconds: float | None = None
    allow_private_webhooks: bool = False
    together: int = 1
    previews: bool = True
    schema: str = SCHEMA
    preload: Sequence[str] = ()
    recorder: Recorder = field(default_factory=Recorder)
    fallbacks: Mapping[Task, Sequence[str]] = field(default_factory=dict)


class DurableJobs:
    """The database, the ledger, the queue, the events and the store, as an async context manager."""

    database: Database
    ledger: JobLedger
    store: BlobStore
    service: VideoService
    queue: JobQueue
    batches: BatchQueue
    events: Events
    deliveries: Deliveries
    previews: Previews
    roster: Roster
    orders: Orders

    def __init__(self, settings: Settings, *, max_connections: int | None = None) -> None:
        self._settings = settings
        self._max_connections = max_connections
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        settings = self._settings
        async with AsyncExitStack() as stack:
            self.database = await stack.enter_async_context(
                await Database.open(
                    settings.database_url,
                    data_directory=settings.data_directory,
                    max_connections=self._max_connections or CONNECTIONS,
                    schema=settings.schema,
                )
            )
            self.ledger = JobLedger(self.database)
            self.store = await asyncio.to_thread(settings.open_store)
            self.service = await stack.enter_async_context(settings.make_service())
            if isinstance(self.service.backend, Selects):
                self.service.backend.learn_from(SharedKnowledge(self.database))
            self.events = await stack.enter_async_context(Events(self.database, self.ledger))
            self.deliveries = Deliveries(self.database)
            self.roster = Roster(self.database)
            self.orders = Orders(self.database, queue_of=settings.queue_of)
            self.queue = JobQueue(
                self.database,
                self.store,
                self.service,
                queue_of=settings.queue_of,
                max_waiting=settings.max_waiting,
                fallbacks=settings.fallbacks,
                allow_private_webhooks=settings.allow_private_webhooks,
            )
            self.previews = Previews(self.database, self.store, self.service)
            self.batches = BatchQueue(self.database, self.queue, self.service)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    async def workers(self, *, seen_within_seconds: float) -> int:
        """Return how many queues are being worked on, by workers that were heard of lately."""
        async with self.database.connection() as connection:
            found = await connection.execute(
                "SELECT count(*) FROM procrastinate_workers"
                " WHERE last_heartbeat > clock_timestamp() - make_interval(secs => %s)",
                [seen_within_seconds],
            )
            row = await found.fetchone()
        return int(row[0]) if row else 0

    def worker(self, queues: Mapping[str, int]) -> Worker:
        """Return a worker of this process. queues: how many at once of each."""
        return Worker(
            self.database,
            self.store,
            self.service,
            Courier(self.database, allow_private=self._settings.allow_private_webhooks),
            self.orders,
            queues=queues,
            together=self._settings.together,
            preload=self._settings.preload,
            deadline_seconds=self._settings.deadline_seconds,
            previews=self._settings.previews,
            recorder=self._settings.recorder,
        )
