"""The door to batches: one bad line is kept with its reason and stops no other, and what is taken is made."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence

from cinelet.domain.errors import CineletError, NoModelFitsError, ValidationError
from cinelet.domain.request import Task, VideoRequest, make_request
from cinelet.jobs.batch import NewLine, SentLine
from cinelet.jobs.batch_ledger import BatchLedger, lock_images
from cinelet.jobs.database import Database
from cinelet.jobs.idempotency import check_key
from cinelet.jobs.ledger import IMAGE_KEY
from cinelet.jobs.queue import Admit, JobQueue
from cinelet.jobs.usage import Asked, asked_seconds
from cinelet.jobs.webhook_address import WEBHOOK_URL
from cinelet.observability.tracing import SpanKind, describe, span
from cinelet.service import VideoService
from cinelet.storage.errors import BlobNotFoundError, StorageError

MAX_LINES = 10_000
MAX_IMAGES = 1000
"""In one batch; each is locked while the batch is written, and a database has room for some thousand locks."""
IMAGES_AT_ONCE = 8
LINES_TOLD = 20
"""How many bad lines an error names."""


class BatchQueue:
    """Accepts batches."""

    def __init__(self, database: Database, queue: JobQueue, service: VideoService) -> None:
        self.ledger = BatchLedger(database)
        self._database = database
        self._queue = queue
        self._service = service

    async def submit(
        self,
        lines: Sequence[SentLine],
        *,
        owner: str,
        sent_hash: bytes,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        standing_webhook_url: str | None = None,
        admit: Admit | None = None,
        budget_currency: str | None = None,
    ) -> tuple[str, bool]:
        """Accept a batch; return its id, and False where the idempotency key had made it before.

        It is durable when this returns: `ledger.make_generations` goes on from there, in this process or in a worker.
        sent_hash: of what the client sent. standing_webhook_url: who is told of the end of a line that names nobody.
        budget_currency: where there is a budget, and a line whose cost nobody knows is a bad one. Raises
        `ValidationError` where no line is good, and what `JobQueue.submit` raises; then nothing is made.
        """
        with span("accept batch", kind=SpanKind.PRODUCER) as accepting:
            if idempotency_key is not None:
                check_key(idempotency_key)
                before = await self.ledger.known(owner=owner, key=idempotency_key, sent_hash=sent_hash)
                if before is not None:
                    return before, False
            self._check_size(lines)
            await self._queue.require_room(sum(line.error is None for line in lines))
            images: set[str] = set()
            try:
                ready = await self._ready(lines, images, budget_currency=budget_currency)
                count = _require_one(ready)
                async with self._database.connection() as connection, connection.transaction():
                    if images:
                        # Whoever is removing one has done so now, and whoever comes later sees that it is used.
                        await lock_images(connection, images)
                        await self._require_stored(images)
                    batch_id, created = await self.ledger.insert(
                        ready,
                        owner=owner,
                        metadata=metadata or {},
                        sent_hash=sent_hash,
                        idempotency_key=idempotency_key,
                        standing_webhook_url=standing_webhook_url,
                        connection=connection,
                    )
                    if admit and created:
                        await admit(connection, _asked(ready))
            except CineletError:
                for key in images:
                    await self._queue.remove_unused(key)
                raise
            describe(accepting, batch=batch_id, lines=len(lines), created=created)
            if created:
                self._queue.added(count)
            return batch_id, created

    def _check_size(self, lines: Sequence[SentLine]) -> None:
        most = min(MAX_LINES, self._queue.max_waiting)
        if not 0 < len(lines) <= most:
            message = f"A batch has 1-{most:,} lines, and this one has {len(lines):,}"
            raise ValidationError(message, {"requests": f"Must be 1-{most} lines"})
        images = sum(line.image is not None for line in lines)
        if images > MAX_IMAGES:
            message = f"At most {MAX_IMAGES:,} lines of a batch have an image, and this one has {images:,}"
            raise ValidationError(message, {"requests": f"Must be at most {MAX_IMAGES} images"})

    async def _ready(
        self, lines: Sequence[SentLine], images: set[str], *, budget_currency: str | None
    ) -> list[NewLine]:
        """Return the lines as the ledger takes them, in their order; images: gets the keys of what is stored."""
        turns = asyncio.Semaphore(IMAGES_AT_ONCE)

        async def with_image(line: SentLine) -> NewLine:
            async with turns:
                try:
                    assert line.image is not None  # noqa: S101  (these are the lines that have one)
                    work = self._resolved(line, await line.image())
                except ValidationError as error:
                    return _bad(line, error)
                stored = await self._queue.stored(work)
                images.add(stored[IMAGE_KEY])
                return await self._new(line, work, stored, budget_currency=budget_currency)

        async def without_images() -> list[NewLine]:
            # Thousands of them would stop the event loop for a second.
            resolved = await asyncio.to_thread(lambda: [self._plain(line) for line in lines if line.image is None])
            return [
                line if isinstance(line, NewLine) else await self._new(*line, budget_currency=budget_currency)
                for line in resolved
            ]

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(with_image(line)) for line in lines if line.image is not None]
                plain = await without_images()
        except* CineletError as errors:
            # The store or the database failed: no line can be blamed for that.
            raise errors.exceptions[0] from None
        return sorted(itertools.chain(plain, (task.result() for task in tasks)), key=lambda line: line.number)

    def _plain(self, line: SentLine) -> NewLine | tuple[SentLine, VideoRequest, dict[str, object]]:
        if line.error is not None:
            return NewLine(line.number, line.custom_id, line.error)
        try:
            work = self._resolved(line, None)
        except ValidationError as error:
            return _bad(line, error)
        return line, work, work.model_dump(mode="json", exclude={"image"}, exclude_defaults=True)

    def _resolved(self, line: SentLine, image: bytes | None) -> VideoRequest:
        self._queue.check_webhook(line.webhook_url)
        task = Task.TEXT_TO_VIDEO if image is None else Task.IMAGE_TO_VIDEO
        return self._service.resolved(make_request(task=task, image=image, **line.values))

    async def _new(
        self, line: SentLine, work: VideoRequest, stored: Mapping[str, object], *, budget_currency: str | None
    ) -> NewLine:
        cost = None
        try:
            queue, chosen = await self._queue.chosen_for(work)
            if budget_currency is not None:
                cost = await self._queue.costs.of(stored, str(work.model), chosen)
                self._queue.costs.require(cost, str(work.model), currency=budget_currency)
        except (ValidationError, NoModelFitsError) as error:
            return _bad(line, error)
        return NewLine(
            line.number,
            line.custom_id,
            request=stored if line.webhook_url is None else {**stored, WEBHOOK_URL: line.webhook_url},
            requested_model=str(work.model),
            queue=queue,
            priority=line.priority,
            cache_key=await self._queue.cache_key(work),
            webhook_url=line.webhook_url,
            reserved_cost=cost,
        )

    async def _require_stored(self, images: set[str]) -> None:
        turns = asyncio.Semaphore(IMAGES_AT_ONCE)

        async def there(key: str) -> None:
            async with turns:
                await self._queue.store.head(key)

        try:
            await asyncio.gather(*map(there, images))
        except BlobNotFoundError as error:
            message = "An image was removed by somebody else while the batch was taken; send it again"
            raise StorageError(message) from error


def _bad(line: SentLine, error: CineletError) -> NewLine:
    return NewLine(line.number, line.custom_id, error.to_dict())


def _asked(lines: Sequence[NewLine]) -> Asked:
    """Return what the good lines ask for together."""
    good = [line for line in lines if line.error is None]
    costs = [line.reserved_cost for line in good if line.reserved_cost is not None]
    return Asked(len(good), sum(asked_seconds(line.request) for line in good), sum(costs) if costs else None)


def _require_one(lines: Sequence[NewLine]) -> int:
    """Return how many lines are good, or raise `ValidationError` that names the first bad ones."""
    bad = [line for line in lines if line.error is not None]
    if len(bad) < len(lines):
        return len(lines) - len(bad)
    details = {f"line {line.number}": str((line.error or {})["message"]) for line in bad[:LINES_TOLD]}
    first = "; ".join(f"{name}: {why}" for name, why in itertools.islice(details.items(), 3))
    raise ValidationError(f"None of the {len(lines):,} lines can be made; {first}", details)
