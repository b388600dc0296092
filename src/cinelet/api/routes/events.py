"""`/v1/events`: everything that happens to what the caller sees, in one stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.responses import Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from cinelet.api.access import Caller
from cinelet.api.routes.generations import HEARTBEAT_SECONDS, STREAM, facts_of
from cinelet.api.state import Jobs, Who
from cinelet.domain.errors import CineletError
from cinelet.jobs.durable import DurableJobs
from cinelet.jobs.feed import Signal, Told

router = APIRouter(prefix="/v1/events", tags=["generations"])


@router.get("", response_class=EventSourceResponse, responses=STREAM)
async def watch_everything(jobs: Jobs, caller: Who) -> Response:
    """Follow all generations as server-sent events: `ready`, then a `generation` for each change from now on.

    `gap`: something may have been missed, so read again what you show; so after each connection. Nothing is repeated.
    """
    told = await jobs.events.watch_all(owner=caller.sees)
    return EventSourceResponse(_told(jobs, told, caller), ping=HEARTBEAT_SECONDS)


async def _told(
    jobs: DurableJobs, watched: AsyncIterator[Told | Signal], caller: Caller
) -> AsyncIterator[ServerSentEvent]:
    async def written(told: Told) -> str:
        event = told.event
        facts = await facts_of(jobs, event, with_position=not told.crowded)
        return json.dumps({"id": event.generation_id, **facts})

    async for told in watched:
        if isinstance(told, Signal):
            yield ServerSentEvent("{}", event=told.value)
            continue
        if not await caller.is_still_let_in():
            return
        try:
            text = await told.once(written)
        except CineletError:  # the database is away
            yield ServerSentEvent("{}", event=Signal.GAP.value)
        else:
            yield ServerSentEvent(text, event="generation", id=str(told.event.position))
