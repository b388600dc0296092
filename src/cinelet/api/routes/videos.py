"""`/v1/videos`: what OpenAI's client and those of other engines speak."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from cinelet.api.errors import error_body, reply_to_failure
from cinelet.api.file_reply import file_route, spritesheet_reply, thumbnail_reply, video_reply
from cinelet.api.image_source import image_of
from cinelet.api.json_body import JsonRoute
from cinelet.api.routes.text_to_video import IdempotencyKey
from cinelet.api.state import Jobs, Service, Who, WhoGenerates, found
from cinelet.api.video_form import described, read_form
from cinelet.api.video_object import video_of
from cinelet.api.waiting import MAX_WAIT_SECONDS, ended_within
from cinelet.domain.errors import GenerationCancelledError, ValidationError
from cinelet.jobs.generation import Generation, Position
from cinelet.jobs.queue import restored_request
from cinelet.jobs.states import State

POLL_AFTER_MS = 500
STOP_SECONDS = 10.0
"""How long a delete waits for what runs to stop."""
VARIANTS = {"video": video_reply, "thumbnail": thumbnail_reply, "spritesheet": spritesheet_reply}
"""By the variant of a video's content."""

router = APIRouter(route_class=JsonRoute, prefix="/v1/videos", tags=["OpenAI's videos"])
Id = Annotated[str, Path(alias="video_id", max_length=5000)]
RetryCount = Annotated[int, Header(alias="x-stainless-retry-count", ge=0, le=100)]


async def created(
    request: Request,
    service: Service,
    caller: WhoGenerates,
    idempotency_key: IdempotencyKey = None,
    retry_count: RetryCount = 0,
) -> tuple[Generation, tuple[str, ...]]:
    """Return the generation that a request asks for, and the fields of the request that change nothing."""
    form = await read_form(request)
    image = form.image
    wanted = form.request(None)
    service.open_models.require(caller, wanted)
    if image is None and form.image_url is not None:
        image = await image_of(form.image_url, max_bytes=service.config.max_image_size, field="input_reference")
    if image is not None and not image:
        raise ValidationError("input_reference is an empty file", {"input_reference": "Empty"})
    inserted = await service.jobs.queue.submit(
        wanted if image is None else form.request(image),
        owner=caller.owner,
        idempotency_key=idempotency_key,
        sent_again=retry_count > 0,
        webhook_url=form.webhook_url,
        standing_webhook_url=caller.webhook_url,
        admit=caller.admit,
        budget_currency=caller.budget_currency,
    )
    return inserted.generation, form.ignored


Created = Annotated[tuple[Generation, tuple[str, ...]], Depends(created)]


@router.post("", openapi_extra=described())
async def create_video(made: Created) -> JSONResponse:
    """Ask for a video, by a form or by JSON. What a client sends again by itself makes no second one."""
    generation, ignored = made
    return JSONResponse(video_of(generation, ignored=ignored))


@router.post("/sync", response_class=Response, openapi_extra=described())
async def create_video_and_wait(request: Request, jobs: Jobs, made: Created) -> Response:
    """Ask for a video and wait for the file. What a client sends again by itself makes no second one."""
    generation, _ = made
    ended = await ended_within(jobs, generation, MAX_WAIT_SECONDS)
    if ended.state is State.CANCELLED:
        raise GenerationCancelledError("The generation was cancelled")
    if ended.error is not None:
        return reply_to_failure(ended.error)
    if ended.result is None:
        why = f"{ended.id} is {ended.state}; ask for it later"
        return JSONResponse(error_body(code="not_finished", message=why, kind="server_error"), 502)
    reply = await video_reply(request, ended)
    seconds = f"{ended.result['generation_time']:g}"
    reply.headers.update({"x-model": str(ended.model), "x-inference-time-s": seconds})
    return reply


@router.get("")
async def list_videos(
    jobs: Jobs,
    caller: Who,
    after: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """List videos. after: the id of the last one that is known."""
    position = None
    if after is not None:
        last = await found(jobs, after, caller)
        position = Position(last.created_at, last.id)
    page = await jobs.ledger.list(owner=caller.sees, after=position, oldest_first=order == "asc", limit=limit)
    data = [video_of(generation) for generation in page.generations]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": page.next is not None,
    }


@router.get("/{video_id}")
async def retrieve_video(
    video_id: Id,
    jobs: Jobs,
    caller: Who,
    polling: Annotated[str | None, Header(alias="x-stainless-poll-helper")] = None,
) -> JSONResponse:
    """Show one video. A failed one is a good answer, too."""
    headers = {"openai-poll-after-ms": str(POLL_AFTER_MS)} if polling else {}
    return JSONResponse(video_of(await found(jobs, video_id, caller)), headers=headers)


@router.delete("/{video_id}")
async def delete_video(video_id: Id, jobs: Jobs, caller: WhoGenerates) -> dict[str, Any]:
    """Cancel it, and forget it."""
    generation = await found(jobs, video_id, caller)
    if not generation.state.final:
        await jobs.ledger.request_cancel(generation.id, owner=caller.sees)
        generation = await ended_within(jobs, generation, STOP_SECONDS)
    await jobs.queue.delete(generation)
    return {"id": generation.id, "object": "video.deleted", "deleted": True}


@file_route(router, "/{video_id}/content")
async def content_of_video(
    video_id: Id,
    request: Request,
    jobs: Jobs,
    caller: Who,
    variant: Literal["video", "thumbnail", "spritesheet"] = "video",
) -> Response:
    """Return the file, or a picture of it."""
    return await VARIANTS[variant](request, await found(jobs, video_id, caller))


@router.post("/{video_id}/remix")
async def remix_video(
    video_id: Id,
    jobs: Jobs,
    service: Service,
    caller: WhoGenerates,
    prompt: Annotated[str, Body(embed=True, min_length=1, max_length=1000)],
) -> JSONResponse:
    """Ask for the same again with another prompt."""
    original = await found(jobs, video_id, caller)
    request = await restored_request(original.request, jobs.store)
    varied = request.model_copy(update={"prompt": prompt})
    service.open_models.require(caller, varied)
    inserted = await jobs.queue.submit(
        varied,
        owner=caller.owner,
        remixed_from=original.id,
        standing_webhook_url=caller.webhook_url,
        admit=caller.admit,
        budget_currency=caller.budget_currency,
    )
    return JSONResponse(video_of(inserted.generation))


@router.post("/edits", include_in_schema=False)
@router.post("/extensions", include_in_schema=False)
@router.post("/characters", include_in_schema=False)
@router.get("/characters/{character_id}", include_in_schema=False)
async def not_offered(request: Request, _: Who) -> JSONResponse:
    """Say that no model here does this."""
    what = request.url.path.removeprefix("/v1/videos/").partition("/")[0]
    message = f"No model here makes {what}; what can be made is at /v1/models"
    return JSONResponse(error_body(code="not_offered", message=message, kind="invalid_request_error"), 501)
