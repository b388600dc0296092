"""A batch as it is sent: a list of requests in JSON, or one a line. A bad one stops no other."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.datastructures import UploadFile

from cinelet.api.bodies import ImageToVideo, TextToVideo
from cinelet.api.errors import NotAllowedError, name_in_reply, wrong_fields
from cinelet.api.image_source import image_of
from cinelet.api.json_body import read_json
from cinelet.api.open_models import Asked
from cinelet.domain.errors import ValidationError
from cinelet.jobs.batch import SentLine
from cinelet.jobs.batch_queue import MAX_LINES
from cinelet.jobs.idempotency import is_storable

MAX_METADATA = 16
MAX_FIELDS = 10
LINES_KINDS = ("application/jsonl", "application/x-ndjson", "application/x-jsonlines")


def _storable(text: str) -> str:
    if not is_storable(text):
        raise ValueError("Must be printable")
    return text


CustomId = Annotated[str | None, Field(max_length=200), AfterValidator(lambda text: text and _storable(text))]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=MAX_METADATA)
]


class TextLine(TextToVideo):
    """A video from a text, as one line of a batch."""

    custom_id: CustomId = None
    """Comes back with the line's result."""


class ImageLine(ImageToVideo):
    """A video that begins with an image, as one line of a batch."""

    custom_id: CustomId = None
    """Comes back with the line's result."""


_LINE = {
    "anyOf": [TextLine.model_json_schema(), ImageLine.model_json_schema(), {}],
    "description": "A request, as for one video, with or without an image. Whatever else is kept as a failed line.",
}


class BatchBody(BaseModel):
    """Many requests at once."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {"requests": [{"prompt": "a red circle", "custom_id": "first"}, {"prompt": "a blue square", "seed": 4}]}
            ]
        },
    )

    requests: Annotated[list[Annotated[Any, WithJsonSchema(_LINE)]], Field(min_length=1, max_length=MAX_LINES)]
    """The lines; the first has the number 1."""
    metadata: Metadata = Field(default_factory=dict)
    """Comes back with the batch."""


@dataclass(frozen=True, slots=True)
class SentBatch:
    """What was sent. sha256: of its content, whatever its form."""

    lines: Sequence[SentLine]
    metadata: dict[str, str]
    sha256: bytes


async def read_batch(request: Request, *, max_image_bytes: int, require: Callable[[Asked], None]) -> SentBatch:
    """Read a batch, or raise `ValidationError` where it is none. require: as `OpenModels.require`, of each line."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    metadata: Any = {}
    if kind == "application/json":
        body = await request.body()
        read = functools.partial(_read_json, body)
    elif kind in LINES_KINDS:
        body = await request.body()
        read = functools.partial(_read_lines, body, metadata)
    elif kind == "multipart/form-data":
        body, metadata = await _uploaded(request)
        read = functools.partial(_read_lines, body, metadata)
    else:
        message = f"A body of the kind {kind[:60]!r} cannot be read; send JSON, JSONL (application/jsonl) or a form"
        raise ValidationError(
            message, {"content-type": f"Must be application/json, {', '.join(LINES_KINDS)} or a form"}
        )
    # Megabytes of JSON and thousands of lines: not in the event loop.
    return await asyncio.to_thread(lambda: _sent(*read(), max_image_bytes=max_image_bytes, require=require))


async def _uploaded(request: Request) -> tuple[bytes, Any]:
    """Return the file of a form, and its metadata."""
    async with request.form(max_files=1, max_fields=MAX_FIELDS) as form:
        unknown = set(form) - {"file", "metadata"}
        if unknown:
            told = name_in_reply(min(unknown))
            raise ValidationError(f"There is no field {told!r}", {told: "Unknown field"})
        file, metadata = form.get("file"), form.get("metadata", "{}")
        if not isinstance(file, UploadFile):
            raise ValidationError("file is missing; send one JSON object a line", {"file": "Missing"})
        if not isinstance(metadata, str):
            raise ValidationError("metadata is a file; send a JSON object", {"metadata": "Must be a JSON object"})
        body = await file.read()
    try:
        return body, read_json(metadata)
    except (ValueError, RecursionError) as error:
        raise ValidationError("metadata is no JSON", {"metadata": "Must be a JSON object"}) from error


def _read_json(body: bytes) -> tuple[list[tuple[int, Any]], Any]:
    try:
        values = read_json(body)
    except (ValueError, RecursionError) as error:
        raise ValidationError("The body is no JSON", {"body": "No JSON"}) from error
    batch = _checked(values)
    return list(enumerate(batch.requests, start=1)), batch.metadata


def _read_lines(body: bytes, metadata: Any) -> tuple[list[tuple[int, Any]], Any]:
    """Return the lines with their numbers; empty ones count, and are no requests."""
    found: list[tuple[int, Any]] = []
    # Of bytes: only line ends part lines, and no other character that JSON may hold.
    for number, line in enumerate(body.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found.append((number, read_json(line)))
        except ValidationError as error:
            found.append((number, _BadLine(line, error)))
        except (ValueError, RecursionError):
            found.append((number, _BadLine(line, ValidationError("It is no JSON", {"line": "No JSON"}))))
        if len(found) > MAX_LINES:
            message = f"A batch has at most {MAX_LINES:,} lines"
            raise ValidationError(message, {"file": f"Must be at most {MAX_LINES} lines"})
    if not found:
        raise ValidationError("There is no line; write one JSON object a line", {"file": "Empty"})
    return found, _checked({"requests": [None], "metadata": metadata}).metadata


@dataclass(frozen=True, slots=True)
class _BadLine:
    """A line that cannot be read, and why."""

    line: bytes
    error: ValidationError


def _checked(values: Any) -> BatchBody:
    try:
        return BatchBody.model_validate(values)
    except pydantic.ValidationError as error:
        raise RequestValidationError(error.errors(include_input=False, include_context=False)) from None


def _sent(
    numbered: list[tuple[int, Any]], metadata: dict[str, str], *, max_image_bytes: int, require: Callable[[Asked], None]
) -> SentBatch:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    lines = []
    for number, value in numbered:
        content = value.line if isinstance(value, _BadLine) else json.dumps(value, sort_keys=True).encode()
        digest.update(b"\n%d " % number + content)
        lines.append(_line(number, value, max_image_bytes=max_image_bytes, require=require))
    return SentBatch(lines, metadata, digest.digest())


def _line(number: int, value: Any, *, max_image_bytes: int, require: Callable[[Asked], None]) -> SentLine:
    custom_id = None
    line: TextLine | ImageLine
    try:
        if isinstance(value, _BadLine):
            raise value.error
        if not isinstance(value, dict):
            raise ValidationError('It is no JSON object; write {"prompt": ...}', {"line": "No object"})
        custom_id = _custom_id(value)
        try:
            if value.get("image") is None:
                line = TextLine.model_validate({name: sent for name, sent in value.items() if name != "image"})
            else:
                line = ImageLine.model_validate(value)
        except pydantic.ValidationError as error:
            raise wrong_fields(error.errors(include_input=False, include_context=False)) from None
        require(line)
    except (ValidationError, NotAllowedError) as error:
        return SentLine(number, custom_id, error=error.to_dict())
    values = {name: sent for name, sent in line.values().items() if name not in {"custom_id", "image"}}
    image = None
    if isinstance(line, ImageLine):
        image = functools.partial(image_of, line.image, max_bytes=max_image_bytes)
    return SentLine(number, custom_id, values, line.priority, image, line.webhook_url)


def _custom_id(value: dict[str, Any]) -> str | None:
    """Return a line's own name also where the line is bad, if it is one."""
    name = value.get("custom_id")
    return name if isinstance(name, str) and len(name) <= 200 and is_storable(name) else None
