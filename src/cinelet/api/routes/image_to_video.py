"""`POST /v1/image-to-video`."""

from __future__ import annotations

from typing import Any

import pydantic
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.datastructures import UploadFile

from cinelet.api.bodies import ImageToVideo
from cinelet.api.errors import name_in_reply
from cinelet.api.image_source import image_of
from cinelet.api.json_body import JsonRoute
from cinelet.api.lora_field import IN_FORM
from cinelet.api.routes.text_to_video import IdempotencyKey
from cinelet.api.state import Jobs, Service, WhoGenerates
from cinelet.api.view import GenerationView
from cinelet.api.waiting import accepted
from cinelet.domain.errors import ValidationError
from cinelet.domain.request import Task, make_request

MAX_FIELDS = 40

router = APIRouter(route_class=JsonRoute, tags=["videos"])
_SCHEMA = ImageToVideo.model_json_schema(ref_template="#/components/schemas/{model}")
_IN_FORM = {"image": {"type": "string", "format": "binary"}, "lora": IN_FORM}
_FORM = {**_SCHEMA, "properties": {**_SCHEMA["properties"], **_IN_FORM}}
_BODY = {
    "required": True,
    "content": {"application/json": {"schema": _SCHEMA}, "multipart/form-data": {"schema": _FORM}},
}


@router.post("/v1/image-to-video", status_code=202, response_model=GenerationView, openapi_extra={"requestBody": _BODY})
async def image_to_video(
    request: Request, jobs: Jobs, service: Service, caller: WhoGenerates, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make a video that begins with an image: a file of a form, or in JSON a data URI or an https address."""
    body, image = await _read(request)
    service.open_models.require(caller, body)
    if image is None:
        image = await image_of(body.image, max_bytes=service.config.max_image_size)
    wanted = make_request(task=Task.IMAGE_TO_VIDEO, image=image, **body.values())
    inserted = await jobs.queue.submit(
        wanted,
        owner=caller.owner,
        idempotency_key=idempotency_key,
        priority=body.priority,
        webhook_url=body.webhook_url,
        standing_webhook_url=caller.webhook_url,
        admit=caller.admit,
        budget_currency=caller.budget_currency,
    )
    return await accepted(request, jobs, inserted.generation)


async def _read(request: Request) -> tuple[ImageToVideo, bytes | None]:
    """Return the body, and the image where it is a file of a form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    image: bytes | None = None
    if kind == "multipart/form-data":
        values: dict[str, Any] = {}
        async with request.form(max_files=1, max_fields=MAX_FIELDS) as form:
            for name, value in form.multi_items():
                if name in values:
                    told = name_in_reply(name)
                    raise ValidationError(f"{told} is given twice", {told: "Given twice"})
                if isinstance(value, UploadFile):
                    if name != "image":
                        told = name_in_reply(name)
                        raise ValidationError(f"{told} is sent as a file; only image is one", {told: "Is no file"})
                    image = await value.read()
                    values[name] = "the file"
                else:
                    values[name] = value
    elif kind == "application/json":
        try:
            values = await request.json()
        except (ValueError, RecursionError) as error:
            raise ValidationError("The body is no JSON", {"body": "No JSON"}) from error
    else:
        message = f"A body of the kind {kind[:60]!r} cannot be read; send a form (multipart/form-data) or JSON"
        raise ValidationError(message, {"content-type": "Must be multipart/form-data or application/json"})
    try:
        return ImageToVideo.model_validate(values), image
    except pydantic.ValidationError as error:
        raise RequestValidationError(error.errors()) from error
