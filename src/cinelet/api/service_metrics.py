"""The metrics of the whole service as one answer: of this process, of the workers that it started, of the database."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from prometheus_client.metrics_core import Metric

from cinelet.config import Config
from cinelet.domain.errors import CineletError
from cinelet.jobs.database import Database
from cinelet.jobs.orders import LOCAL_QUEUE
from cinelet.jobs.queue_metrics import queue_metrics
from cinelet.jobs.worker import REMOTE_QUEUE
from cinelet.observability import exposition, metrics
from cinelet.observability.metrics_link import MetricsLink
from cinelet.observability.reading import Reading

PROCESS = "api"
DATABASE_SECONDS, DISK_SECONDS = 5.0, 30.0
"""How long an answer is believed: however often somebody scrapes, so often is asked."""


class Workers(Protocol):
    """Whoever runs the workers beside this process."""

    @property
    def links(self) -> Mapping[str, MetricsLink | None]:
        """How each is asked, by its name; None for one that does not run now."""
        ...


class ServiceMetrics:
    """Answers within a second: what a database, a disk or a worker does not say until then is missing, and told so."""

    def __init__(self, config: Config, database: Database, *, workers: Workers | None = None) -> None:
        self._folder = config.cinelet_data_dir
        self._workers = workers
        # Not the loop's own threads, which may all wait for a disk.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="metrics")
        self._database = Reading(
            lambda: queue_metrics(database, queues=(REMOTE_QUEUE, LOCAL_QUEUE)),
            expected=(CineletError,),
            fresh_seconds=DATABASE_SECONDS,
        )
        self._disk = Reading(self._disk_sizes, expected=(OSError,), fresh_seconds=DISK_SECONDS)

    async def written(self, *, accept: str) -> tuple[bytes, str]:
        """Return the metrics now in the format that the header `Accept` asks for, and its content type."""
        wanted = exposition.format_for(accept)
        links = dict(self._workers.links) if self._workers is not None else {}
        # One that has ended, and is to be started again, is told of as one that does not answer.
        (database, disk), told = await asyncio.gather(
            asyncio.gather(self._database.now(), self._disk.now()),
            asyncio.gather(*(link.text(wanted.letter) if link else _nothing() for link in links.values())),
        )
        texts = dict(zip(links, told, strict=True))
        readings = exposition.Families([*(database or ()), *self._told(database, disk, texts)])

        def write() -> bytes:
            own = wanted.write(exposition.ProcessMetrics(PROCESS, readings))
            return exposition.together([own, *(text for text in texts.values() if text is not None)], wanted)

        return await asyncio.get_running_loop().run_in_executor(self._threads, write), wanted.content_type

    def _told(
        self, database: object, disk: Mapping[tuple[str, ...], float] | None, texts: Mapping[str, bytes | None]
    ) -> Iterable[Metric]:
        yield metrics.DATABASE_UP.family({(): float(database is not None)})
        yield metrics.DISK.family(disk or {})
        ups = {PROCESS: True, **{name: text is not None for name, text in texts.items()}}
        yield metrics.PROCESS_UP.family({(name,): float(is_up) for name, is_up in ups.items()})

    async def _disk_sizes(self) -> Mapping[tuple[str, ...], float]:
        usage = await asyncio.get_running_loop().run_in_executor(self._threads, shutil.disk_usage, self._folder)
        return {("total",): usage.total, ("free",): usage.free}


async def _nothing() -> None:
    return None
