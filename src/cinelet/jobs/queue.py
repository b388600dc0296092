"""The door to durable work: what is accepted here is made, whatever happens to the process that accepted it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from cinelet.domain.errors import CapacityError, CineletError, ProcessingError, ValidationError
from cinelet.domain.model import AUTO, ModelReference
from cinelet.domain.request import Task, VideoRequest, make_request
from cinelet.domain.selection import selected
from cinelet.jobs.database import Database
from cinelet.jobs.expected_cost import ExpectedCosts
from cinelet.jobs.generation import Generation, Inserted
from cinelet.jobs.ledger import IMAGE_KEY, VIDEO_KEY, JobLedger
from cinelet.jobs.previews import preview_keys
from cinelet.jobs.states import State
from cinelet.jobs.usage import Asked, asked_seconds
from cinelet.jobs.webhook_address import WEBHOOK_URL, webhook_address
from cinelet.observability.logs import get_logger
from cinelet.observability.tracing import SpanKind, describe, span, span_unless_open
from cinelet.service import VideoService
from cinelet.storage.blobs import BlobStore, key_of

REMIXED_FROM = "remixed_from"
COUNT_SECONDS = 1.0
"""How old the count of what waits may be; what this process has added since is in it."""
SENT_AGAIN_SECONDS = 600.0
"""How long a client's own retry may come after its first try."""
LOCAL_OWNER = "local"
"""Who owns what the command line asks for."""
_logger = get_logger(__name__)
Admit = Callable[[AsyncConnection[Any], Asked], Awaitable[None]]
"""Looks at the ledger with what was asked for in it, and raises to take it back."""


class JobQueue:
    """Accepts requests. queue_of: the queue of a model reference. max_waiting: one more is refused.

    fallbacks: the models that may step in, for each task. allow_private_webhooks: whether a receiver may be inside a
    network. costs: what is reserved for a request.
    """

    def __init__(
        self,
        database: Database,
        store: BlobStore,
        service: VideoService,
        *,
        queue_of: Callable[[str], str],
        max_waiting: int,
        fallbacks: Mapping[Task, Sequence[str]] | None = None,
        allow_private_webhooks: bool = False,
    ) -> None:
        self.ledger = JobLedger(database)
        self._database = database
        self.store = store
        self._service = service
        self.queue_of = queue_of
        self.max_waiting = max_waiting
        self.costs = ExpectedCosts(database, service.prices, queue_of=queue_of, fallbacks=fallbacks or {})
        self._allow_private_webhooks = allow_private_webhooks
        self._waiting, self._counted_at = 0, -COUNT_SECONDS

    async def submit(
        self,
        request: VideoRequest,
        *,
        owner: str = LOCAL_OWNER,
        idempotency_key: str | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        remixed_from: str | None = None,
        sent_again: bool = False,
        webhook_url: str | None = None,
        standing_webhook_url: str | None = None,
        admit: Admit | None = None,
        budget_currency: str | None = None,
    ) -> Inserted:
        """Accept a request; it is durable when this returns.

        priority: higher ones first. not_before: when it may begin. remixed_from: the generation that it varies.
        sent_again: by a client that saw no answer; the generation of the first time is given, if there is one.
        webhook_url: who is told of its end; standing_webhook_url: who, if nobody is named. admit: asked only where a
        new one is made. budget_currency: where there is a budget, which then has the expected cost reserved, and what
        nobody knows the cost of is refused. Raises `ValidationError`, and `CapacityError` where too much waits already.
        """
        with span_unless_open("accept", kind=SpanKind.PRODUCER) as accepting:
            self.check_webhook(webhook_url)
            work = self._service.resolved(request)
            await self.require_room()
            queue, chosen = await self.chosen_for(work)
            stored = await self.stored(work)
            if remixed_from is not None:
                stored[REMIXED_FROM] = remixed_from
            if webhook_url is not None:
                stored[WEBHOOK_URL] = webhook_url
            if sent_again:
                before = await self.ledger.find_same(
                    stored, owner=owner, requested_model=str(work.model), within_seconds=SENT_AGAIN_SECONDS
                )
                if before is not None:
                    return Inserted(before, created=False)
            cache_key = await self.cache_key(work)
            try:
                cost = None if budget_currency is None else await self.costs.of(stored, str(work.model), chosen)
                async with (
                    self._database.connection() as connection,
                    connection.transaction() if admit else nullcontext(),
                ):
                    inserted = await self.ledger.insert(
                        stored,
                        owner=owner,
                        requested_model=str(work.model),
                        queue=queue,
                        idempotency_key=idempotency_key,
                        priority=priority,
                        not_before=not_before,
                        cache_key=cache_key,
                        webhook_url=webhook_url or standing_webhook_url,
                        reserved_cost=cost,
                        connection=connection,
                    )
                    if inserted.created and budget_currency is not None:
                        self.costs.require(cost, str(work.model), currency=budget_currency)
                    if admit and inserted.created:
                        await admit(connection, Asked(1, asked_seconds(stored), cost))
            except CineletError:
                await self.remove_unused(stored.get(IMAGE_KEY))
                raise
            self.added(inserted.created)
            generation = inserted.generation
            facts = {"generation": generation.id, "queue": generation.queue, "new": inserted.created}
            describe(accepting, generation=generation.id, known=None if inserted.created else True)
            _logger.info("A generation is asked for", extra={**facts, "model": work.model})
            if work.image is not None:
                # Somebody may have deleted the last generation with the same image just before; now nobody will.
                await self._kept_image(work.image)
            return inserted

    async def chosen_for(self, work: VideoRequest) -> tuple[str, Sequence[str]]:
        """Return the queue of a resolved request, and the models that would be tried where it leaves the choice.

        The queue is that of the first of them. Raises `NoModelFitsError` where none fits, before anything is kept.
        """
        chosen: list[str] = []
        if ModelReference.parse(str(work.model)) == AUTO or work.max_cost is not None or work.max_seconds is not None:
            selection = await selected(self._service.backend, work)
            chosen = [] if selection is None else [str(one.model) for one in selection.order]
        return self.queue_of(chosen[0] if chosen else str(work.model)), chosen

    async def require_room(self, count: int = 1) -> None:
        """Raise `CapacityError` where too much waits. Counted once a second, and always where it may be too much."""
        now = time.monotonic()
        if now - self._counted_at > COUNT_SECONDS or self._waiting + count > self.max_waiting:
            self._waiting = await self.ledger.waiting(at_most=self.max_waiting)
            self._counted_at = now
        if self._waiting + count > self.max_waiting:
            message = f"{self._waiting:,} generations wait already, and {self.max_waiting:,} may (CINELET_QUEUE_LENGTH)"
            raise CapacityError(f"{message}; try again later")

    def added(self, count: int) -> None:
        """Note that so many more wait than were counted."""
        self._waiting += count

    async def stored(self, work: VideoRequest) -> dict[str, Any]:
        """Return a resolved request as the ledger keeps it, with its image in the store."""
        values = work.model_dump(mode="json", exclude={"image"}, exclude_defaults=True)
        if work.image is not None:
            values[IMAGE_KEY] = await self._kept_image(work.image)
        return values

    async def cache_key(self, work: VideoRequest) -> str | None:
        """Return what a resolved request shares with those that make the same video; None where there are none."""
        if work.seed is None or work.cache != "use":
            return None
        return await self._service.cache_key(work)

    async def retry(self, generation: Generation, *, anyway: bool = False) -> Generation:
        """Ask again for what failed or was cancelled, as a new generation; a job that a provider still has goes on.

        anyway: also where the first request may have arrived, and the second may be paid for as well.
        """
        if generation.state not in {State.FAILED, State.CANCELLED}:
            message = f"{generation.id} is {generation.state}; only what failed or was cancelled can be tried again"
            raise ValidationError(message, {"id": f"Is {generation.state}"})
        handle = generation.handle
        if handle is not None and handle.get("ended"):
            handle = None
        if handle is not None and handle.get("submitting"):
            if not anyway:
                message = f"{generation.id} may run at {handle.get('provider')} and be billed"
                todo = "look into the account there, then use --anyway to send it again"
                raise ValidationError(f"{message}; {todo}", {"id": "May have arrived"})
            handle = None
        if handle is not None:
            handle = {name: value for name, value in handle.items() if name != "aside"}
        with span("retry", kind=SpanKind.PRODUCER, parent=generation.traceparent, generation=generation.id):
            inserted = await self.ledger.insert(
                generation.request,
                owner=generation.owner,
                requested_model=generation.requested_model,
                queue=generation.queue,
                priority=generation.priority,
                handle=handle,
                webhook_url=generation.webhook_url,
                reserved_cost=await self.costs.of(generation.request, generation.requested_model),
            )
        return inserted.generation

    async def save(self, generation: Generation, path: str | os.PathLike[str]) -> Path:
        """Write the video of a completed generation to `path` in one step, and check it."""
        path = Path(path)
        if generation.result is None:
            message = f"{generation.id} is {generation.state}; only a completed generation has a video"
            raise ValidationError(message, {"id": f"Is {generation.state}"})
        await self.store.get_to_file(generation.result[VIDEO_KEY], path)
        return path

    def check_webhook(self, url: str | None) -> None:
        """Raise `ValidationError` where a webhook can never be sent to this address."""
        if url is not None:
            webhook_address(url, allow_private=self._allow_private_webhooks)

    async def delete(self, generation: Generation) -> None:
        """Forget a generation that has ended; remove its image, its video and the video's pictures if they are unused.

        Raises `ValidationError` while it goes on.
        """
        await self.ledger.delete(generation.id)
        await self.remove_unused(generation.request.get(IMAGE_KEY))
        video_key = (generation.result or {}).get(VIDEO_KEY)
        await self.remove_unused(video_key, *(preview_keys(video_key) if video_key else ()))

    async def remove_unused(self, key: str | None, *derived: str) -> None:
        """Remove what is stored under a key that no generation has, and what was derived from it."""
        if key is not None:
            # Whoever begins to use it waits for this, and looks afterwards whether it is still there.
            async with self._database.locked(key) as connection:
                if not await self.ledger.uses(key, connection=connection):
                    await asyncio.gather(*(self.store.delete(one) for one in (key, *derived)))

    async def _kept_image(self, image: bytes) -> str:
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(image).hexdigest())
        key = key_of(sha256, suffix=".image")
        await self.store.put_bytes(key, image, create=True)
        return key


async def restored_request(stored: Mapping[str, Any], store: BlobStore) -> VideoRequest:
    """Return the request of a generation, with its image."""
    values = dict(stored)
    key = values.pop(IMAGE_KEY, None)
    for name in (REMIXED_FROM, WEBHOOK_URL):
        values.pop(name, None)
    if key is not None:
        image = await store.get_bytes(key)
        if not key.endswith(f"{hashlib.sha256(image).hexdigest()}.image"):
            raise ProcessingError(f"The stored image {key} is damaged; send the request again", "loading")
        values["image"] = image
    return make_request(**values)
