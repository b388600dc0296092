"""`POST /v1/image-to-video`."""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from pathlib import Path
from typing import Any

import pydantic
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.datastructures import UploadFile

from cinelet.api.bodies import ImageToVideo
from cinelet.api.routes.text_to_video import IdempotencyKey
from cinelet.api.state import Jobs, Service, State, Who
from cinelet.api.view import GenerationView
from cinelet.api.waiting import accepted
from cinelet.clock import SystemClock
from cinelet.domain.backend import Context
from cinelet.domain.errors import CineletError, ValidationError
from cinelet.domain.request import Task
from cinelet.service import make_request
from cinelet.transport.client import Timeouts, make_client
from cinelet.transport.download import download

FETCH_SECONDS = 60.0
"""For an image that is named by its address."""
MAX_FIELDS = 40
_DATA_URI = re.compile(r"data:image/(?:png|jpe?g|webp);base64,", re.ASCII | re.IGNORECASE)

router = APIRouter(tags=["videos"])
_SCHEMA = ImageToVideo.model_json_schema(ref_template="#/components/schemas/{model}")
_FORM = {**_SCHEMA, "properties": {**_SCHEMA["properties"], "image": {"type": "string", "format": "binary"}}}
_BODY = {
    "required": True,
    "content": {"application/json": {"schema": _SCHEMA}, "multipart/form-data": {"schema": _FORM}},
}


@router.post("/v1/image-to-video", status_code=202, response_model=GenerationView, openapi_extra={"requestBody": _BODY})
async def image_to_video(
    request: Request, jobs: Jobs, service: Service, caller: Who, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make a video that begins with an image: a file of a form, or in JSON a data URI or an https address."""
    body, image = await _read(request)
    if image is None:
        image = await _image_of(body.image, service)
    wanted = make_request(task=Task.IMAGE_TO_VIDEO, image=image, **body.values())
    inserted = await jobs.queue.submit(
        wanted, owner=caller.owner, idempotency_key=idempotency_key, priority=body.priority
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
                    raise ValidationError(f"{name} is given twice", {name: "Given twice"})
                if isinstance(value, UploadFile):
                    image = await value.read()
                    values[name] = "the file"
                else:
                    values[name] = value
    elif kind == "application/json":
        try:
            values = await request.json()
        except ValueError as error:
            raise ValidationError("The body is no JSON", {"body": "No JSON"}) from error
    else:
        message = f"A body of the kind {kind[:60]!r} cannot be read; send a form (multipart/form-data) or JSON"
        raise ValidationError(message, {"content-type": "Must be multipart/form-data or application/json"})
    try:
        return ImageToVideo.model_validate(values), image
    except pydantic.ValidationError as error:
        raise RequestValidationError(error.errors()) from error


async def _image_of(text: str, service: State) -> bytes:
    """Return the bytes of an image that is named by a data URI or an address."""
    if text.startswith("data:"):
        head = _DATA_URI.match(text)
        try:
            if head is None:
                raise ValueError
            return base64.b64decode(text[head.end() :], validate=True)
        except (ValueError, binascii.Error) as error:
            message = "The image is no data URI of a PNG, JPEG or WebP file in base64"
            raise ValidationError(message, {"image": "No such data URI"}) from error
    with tempfile.TemporaryDirectory(prefix="cinelet-") as name:
        folder = Path(name)
        client = make_client(timeouts=Timeouts(connect_seconds=10, read_seconds=20))
        try:
            await download(
                text,
                folder / "image",
                client=client,
                context=Context(folder, deadline_seconds=FETCH_SECONDS),
                clock=SystemClock(),
                max_bytes=service.config.max_image_size,
                what="the image",
            )
            return (folder / "image").read_bytes()
        except ValidationError:
            raise
        except CineletError as error:
            raise ValidationError(f"The image cannot be fetched: {error}", {"image": "Cannot be fetched"}) from error
        finally:
            await client.aclose()
