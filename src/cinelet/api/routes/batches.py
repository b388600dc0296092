"""`/v1/batches`: many requests at once, how far they are, and what became of each."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.background import BackgroundTask

from cinelet.api.access import Caller
from cinelet.api.batch_body import LINES_KINDS, BatchBody, read_batch
from cinelet.api.batch_view import BatchPage, BatchView, batch_view_of, line_view_of
from cinelet.api.cursor import cursor_of, position_of
from cinelet.api.errors import NoSuchBatchError
from cinelet.api.json_body import JsonRoute
from cinelet.api.routes.text_to_video import IdempotencyKey
from cinelet.api.state import Jobs, Service, Who, WhoGenerates
from cinelet.domain.errors import CineletError
from cinelet.jobs.batch import Batch
from cinelet.jobs.durable import DurableJobs
from cinelet.observability.logs import get_logger

router = APIRouter(route_class=JsonRoute, prefix="/v1/batches", tags=["batches"])
Id = Annotated[str, Path(alias="batch_id", max_length=5000)]
_logger = get_logger(__name__)

JSONL = "application/jsonl"
_FORM = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "One JSON object a line."},
        "metadata": {"type": "string", "description": "A JSON object of texts."},
    },
    "required": ["file"],
    "additionalProperties": False,
}
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": BatchBody.model_json_schema()},
        **{kind: {"schema": {"type": "string", "format": "binary"}} for kind in LINES_KINDS},
        "multipart/form-data": {"schema": _FORM},
    },
}
_LINES = {
    "description": "One line of JSON for each line of the batch.",
    "content": {JSONL: {"schema": {"type": "string"}}},
}


@router.post("", status_code=202, response_model=BatchView, openapi_extra={"requestBody": _BODY})
async def create_batch(
    request: Request, jobs: Jobs, service: Service, caller: WhoGenerates, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make a video of each line. A line that is wrong is kept as failed, with its reason, and stops no other."""
    sent = await read_batch(
        request,
        max_image_bytes=service.config.max_image_size,
        require=functools.partial(service.open_models.require, caller),
    )
    batch_id, _ = await jobs.batches.submit(
        sent.lines,
        owner=caller.owner,
        sent_hash=sent.sha256,
        metadata=sent.metadata,
        idempotency_key=idempotency_key,
        standing_webhook_url=caller.webhook_url,
        admit=caller.admit,
        budget_currency=caller.budget_currency,
    )
    batch = await _found(jobs, batch_id, caller)
    where = str(request.app.url_path_for("show_batch", batch_id=batch_id))
    return JSONResponse(
        batch_view_of(batch).model_dump(), 202, {"location": where}, background=BackgroundTask(_begin, jobs)
    )


@router.get("")
async def list_batches(
    jobs: Jobs,
    caller: Who,
    after: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> BatchPage:
    """List batches, the newest first. after: `next` of the page before."""
    page = await jobs.batches.ledger.list(owner=caller.sees, after=position_of(after), limit=limit)
    return BatchPage(data=[batch_view_of(batch) for batch in page.batches], next=cursor_of(page.next))


@router.get("/{batch_id}", name="show_batch")
async def show_batch(batch_id: Id, jobs: Jobs, caller: Who) -> BatchView:
    """Show how far a batch is."""
    return batch_view_of(await _found(jobs, batch_id, caller))


@router.get("/{batch_id}/results", response_class=Response, responses={200: _LINES})
async def results_of_batch(batch_id: Id, jobs: Jobs, caller: Who) -> Response:
    """Return every line in its order, as it is now: a JSON object a line. May be asked while the batch runs."""
    batch = await _found(jobs, batch_id, caller)
    return StreamingResponse(_results(jobs, batch), media_type=JSONL)


@router.post("/{batch_id}/cancel")
async def cancel_batch(batch_id: Id, jobs: Jobs, caller: WhoGenerates) -> BatchView:
    """Cancel what has not ended: at once where it waits, at its provider or within a step where it runs."""
    batch = await _found(jobs, batch_id, caller)
    if batch.finished_at is None:
        await jobs.batches.ledger.request_cancel(batch.id)
        batch = await _found(jobs, batch_id, caller)
    return batch_view_of(batch)


async def _found(jobs: DurableJobs, batch_id: str, caller: Caller) -> Batch:
    batch = await jobs.batches.ledger.get(batch_id, owner=caller.sees)
    if batch is None:
        raise NoSuchBatchError
    return batch


async def _begin(jobs: DurableJobs) -> None:
    """Make generations of the lines, after the reply; where this fails or is killed, a worker does it soon."""
    try:
        await jobs.batches.ledger.make_generations()
    except CineletError as error:
        _logger.warning("A batch waits for a worker to begin", extra={"code": error.code})


async def _results(jobs: DurableJobs, batch: Batch) -> AsyncIterator[str]:
    last = 0
    while lines := await jobs.batches.ledger.lines(batch.id, after=last):
        last = lines[-1].number
        # ASCII: a prompt may hold characters at which some readers part lines.
        yield "".join(f"{json.dumps(line_view_of(line).model_dump(mode='json'))}\n" for line in lines)
