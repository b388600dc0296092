"""`/v1/generations`: what was asked for, what became of it, its progress as it happens, and its video."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from cinelet.api.access import Caller
from cinelet.api.cursor import cursor_of, position_of
from cinelet.api.file_reply import (
    file_route,
    glimpse_reply,
    image_reply,
    spritesheet_reply,
    thumbnail_reply,
    video_reply,
)
from cinelet.api.state import Jobs, Who, WhoGenerates, found
from cinelet.api.view import GenerationPage, GenerationView, event_of, view_of
from cinelet.jobs.durable import DurableJobs
from cinelet.jobs.events import Event
from cinelet.jobs.generation import Generation
from cinelet.jobs.searching import MAX_TEXT_CHARACTERS
from cinelet.jobs.states import State

HEARTBEAT_SECONDS = 15
MAX_POSITION = 2**63 - 1
_EVENT = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("event", "id", "data")},
    "required": ["event", "data"],
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events; their data are JSON objects.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    }
}

router = APIRouter(prefix="/v1/generations", tags=["generations"])
Id = Annotated[str, Path(alias="generation_id", max_length=5000)]
Redirect = Annotated[bool, Query(description="Whether the reply may send on to the store, where that signs links.")]
"""For files of a page, whose content policy lets nothing come from elsewhere."""
NeverRedirect = Annotated[bool, Query(description="As for the other files; this one always comes from the service.")]


@router.get("")
async def list_generations(  # noqa: PLR0917  (filters are named in an address)
    jobs: Jobs,
    caller: Who,
    state: Literal["queued", "in_progress", "completed", "failed", "cancelled"] | None = None,
    model: Annotated[str | None, Query(max_length=500)] = None,
    batch: Annotated[str | None, Query(max_length=200)] = None,
    text: Annotated[str | None, Query(min_length=1, max_length=MAX_TEXT_CHARACTERS)] = None,
    created_from: Annotated[float | None, Query(ge=0, le=4e9)] = None,
    created_before: Annotated[float | None, Query(ge=0, le=4e9)] = None,
    after: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> GenerationPage:
    """List generations, the newest first. after: `next` of the page before. text: a part of the prompt, in any case.

    Times are seconds since the epoch.
    """
    page = await jobs.ledger.list(
        state=None if state is None else State(state),
        model=model,
        batch=batch,
        owner=caller.sees,
        text=text,
        created_from=_time(created_from),
        created_before=_time(created_before),
        after=position_of(after),
        limit=limit,
    )
    data = [view_of(generation) for generation in page.generations]
    return GenerationPage(data=data, next=cursor_of(page.next))


@router.get("/{generation_id}", name="show_generation")
async def show_generation(generation_id: Id, jobs: Jobs, caller: Who) -> GenerationView:
    """Show one generation, and its place in the queue while it waits."""
    generation = await found(jobs, generation_id, caller)
    waits = generation.state is State.QUEUED
    return view_of(generation, position=await jobs.ledger.position(generation.id) if waits else None)


@router.get("/{generation_id}/events", response_class=EventSourceResponse, responses=STREAM)
async def watch_generation(
    generation_id: Id,
    jobs: Jobs,
    caller: Who,
    last_event_id: Annotated[int, Header(alias="Last-Event-ID", ge=0, le=MAX_POSITION)] = 0,
) -> Response:
    """Follow one as server-sent events from `Last-Event-ID` on: `progress`, then `completed`, `failed`, `cancelled`."""
    generation = await found(jobs, generation_id, caller)
    return EventSourceResponse(_told(jobs, generation, caller, after=last_event_id), ping=HEARTBEAT_SECONDS)


@file_route(router, "/{generation_id}/video")
async def video_of_generation(
    generation_id: Id, request: Request, jobs: Jobs, caller: Who, *, redirect: Redirect = True
) -> Response:
    """Return the video, whole or a range of it."""
    return await video_reply(request, await found(jobs, generation_id, caller), redirect=redirect)


@file_route(router, "/{generation_id}/thumbnail")
async def thumbnail_of_generation(
    generation_id: Id, request: Request, jobs: Jobs, caller: Who, *, redirect: Redirect = True
) -> Response:
    """Return a picture of the video: WebP, or JPEG where `Accept` prefers it."""
    return await thumbnail_reply(request, await found(jobs, generation_id, caller), redirect=redirect)


@file_route(router, "/{generation_id}/spritesheet")
async def spritesheet_of_generation(
    generation_id: Id, request: Request, jobs: Jobs, caller: Who, *, redirect: Redirect = True
) -> Response:
    """Return up to 25 frames, evenly spaced, in one WebP picture; its layout is in `result` and in the headers."""
    return await spritesheet_reply(request, await found(jobs, generation_id, caller), redirect=redirect)


@router.get("/{generation_id}/preview", response_class=Response)
async def preview_of_generation(
    generation_id: Id,
    jobs: Jobs,
    caller: Who,
    number: Annotated[int | None, Query(ge=0, le=MAX_POSITION, description="Ignored: tells pictures apart.")] = None,  # noqa: ARG001
    *,
    redirect: NeverRedirect = False,  # noqa: ARG001
) -> Response:
    """Return the latest small picture of what is being made, a WebP file; 404 before the first and after the end."""
    generation = await found(jobs, generation_id, caller)
    return await glimpse_reply(jobs, generation)


@file_route(router, "/{generation_id}/image")
async def image_of_generation(
    generation_id: Id,
    request: Request,
    jobs: Jobs,
    caller: Who,
    *,
    redirect: NeverRedirect = False,  # noqa: ARG001
) -> Response:
    """Return the image that it begins with."""
    return await image_reply(request, await found(jobs, generation_id, caller))


@router.post("/{generation_id}/cancel")
async def cancel_generation(generation_id: Id, jobs: Jobs, caller: WhoGenerates) -> GenerationView:
    """Cancel: at once where it waits, at its provider or within a step where it runs; what has ended stays so."""
    generation = await found(jobs, generation_id, caller)
    return view_of(await jobs.ledger.request_cancel(generation.id, owner=caller.sees) or generation)


@router.delete("/{generation_id}", status_code=204)
async def delete_generation(generation_id: Id, jobs: Jobs, caller: WhoGenerates) -> None:
    """Forget a generation that has ended; one that goes on is cancelled, and can be deleted when it has stopped."""
    generation = await found(jobs, generation_id, caller)
    if not generation.state.final:
        await jobs.ledger.request_cancel(generation.id, owner=caller.sees)
    await jobs.queue.delete(generation)


async def facts_of(jobs: DurableJobs, event: Event, *, with_position: bool = True) -> dict[str, Any]:
    """Return an event as clients see it: with its place in the queue while it waits, with its generation at the end.

    with_position: False leaves the place out.
    """
    facts: dict[str, Any] = event_of(event)
    if event.state is State.QUEUED:
        facts["position"] = await jobs.ledger.position(event.generation_id) if with_position else None
    if event.state.final and (ended := await jobs.ledger.get(event.generation_id)) is not None:
        facts["generation"] = view_of(ended).model_dump()
    return facts


async def _told(
    jobs: DurableJobs, generation: Generation, caller: Caller, *, after: int
) -> AsyncIterator[ServerSentEvent]:
    async for event in jobs.events.watch(generation.id, after=after):
        if not await caller.is_still_let_in():
            return
        name = event.state.value if event.state.final else "progress"
        yield ServerSentEvent(json.dumps(await facts_of(jobs, event)), event=name, id=str(event.position))


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
