"""`POST /v1/text-to-video`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from cinelet.api.bodies import TextToVideo
from cinelet.api.json_body import JsonRoute
from cinelet.api.state import Service, WhoGenerates
from cinelet.api.view import GenerationView
from cinelet.api.waiting import accepted
from cinelet.domain.request import Task, make_request

router = APIRouter(route_class=JsonRoute, tags=["videos"])

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", max_length=255)]


@router.post("/v1/text-to-video", status_code=202, response_model=GenerationView)
async def text_to_video(
    body: TextToVideo, request: Request, service: Service, caller: WhoGenerates, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make a video from a text: answers with the job, or with the video to `Prefer: wait=N` or `Accept: video/mp4`."""
    wanted = make_request(task=Task.TEXT_TO_VIDEO, **body.values())
    service.open_models.require(caller, wanted)
    inserted = await service.jobs.queue.submit(
        wanted,
        owner=caller.owner,
        idempotency_key=idempotency_key,
        priority=body.priority,
        webhook_url=body.webhook_url,
        standing_webhook_url=caller.webhook_url,
        admit=caller.admit,
        budget_currency=caller.budget_currency,
    )
    return await accepted(request, service.jobs, inserted.generation)
