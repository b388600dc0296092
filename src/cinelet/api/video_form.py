"""What `/v1/videos` is sent, by OpenAI's client, for SGLang and for vLLM-Omni, as one of our requests."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from fastapi import Request
from starlette.datastructures import UploadFile

from cinelet.api.bodies import NUMBERS, PAIRS, Parameters
from cinelet.api.errors import name_in_reply
from cinelet.api.lora_field import IN_FORM, is_lora, loras_of_fields
from cinelet.domain.errors import ValidationError
from cinelet.domain.request import CHOICE_FIELDS, MAX_PROMPT_CHARACTERS, Quality, Task, VideoRequest, make_request
from cinelet.jobs.webhook_address import WEBHOOK_URL

MAX_FIELDS = 100
MAX_FIELD_BYTES = 64 * 1024

_SAME = (
    "prompt", "model", "negative_prompt", "fps", "num_inference_steps", "guidance_scale", "seed", "width", "height",
    "preset", "codec", "fallback", "cache", "image_fit", "upscaler", "quality",
    *CHOICE_FIELDS,
)  # fmt: skip
"""Fields that are called as ours are."""
WITHOUT_EFFECT = frozenset({
    "guidance_scale_2", "true_cfg_scale", "max_sequence_length", "flow_shift", "enable_teacache", "enable_cache_dit",
    "cache_dit_params", "output_quality", "output_compression", "x264_preset", "enable_frame_interpolation",
    "frame_interpolation_exp", "frame_interpolation_scale", "frame_interpolation_model_path", "enable_upscaling",
    "task_type", "diffusers_kwargs", "extra_params", "extra_body", "boundary_ratio", "aspect_ratio",
    "short_edge", "user",
})  # fmt: skip
"""Fields of other engines that change nothing here; the reply names them."""
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_IMAGE_FIELDS = ("input_reference", "image_reference", "reference_url")
_COUNTS = ("n", "num_outputs_per_prompt")
_TAKEN = frozenset({*_SAME, *_COUNTS, "seconds", "size", "num_frames", WEBHOOK_URL})
_SIZE = re.compile(r"(\d{1,5})\s*[xX]\s*(\d{1,5})", re.ASCII)
_BRACKETS = re.compile(r"([a-z0-9_]+)(?:\[.*)?", re.ASCII)


def described() -> dict[str, Any]:
    """Return the body as OpenAPI describes it."""
    ours = Parameters.model_json_schema(ref_template="#/components/schemas/{model}")["properties"]
    fields: dict[str, Any] = {
        "prompt": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_PROMPT_CHARACTERS,
            "description": "What the video shows.",
        },
        **{name: _lenient(ours[name]) for name in _SAME if name in ours},
        # Not the choice alone: other engines' values are taken, and have no effect.
        "quality": {"description": ours["quality"]["description"], "examples": ["fast"]},
        "seconds": {"type": ["number", "string"], "description": "How long it is.", "examples": ["2"]},
        "size": {
            "type": "string",
            "pattern": f"^{_SIZE.pattern}$",
            "description": "WIDTHxHEIGHT in pixels.",
            "examples": ["640x480"],
        },
        "num_frames": {"type": "number", "description": "That many frames at `fps`, where no `seconds` are given."},
        "input_reference": {"type": "string", "description": "An image to begin with: a file, or its address."},
        "lora": ours["lora"],
        WEBHOOK_URL: ours[WEBHOOK_URL],
    }
    whole = {"type": "object", **PAIRS, "examples": [{"prompt": "a red circle", "seconds": "2"}]}
    file = {**fields["input_reference"], "format": "binary"}
    # In JSON, null is as good as nothing; in a form, what is left empty.
    nullable = {name: {"anyOf": [field, {"type": "null"}]} for name, field in fields.items()}
    in_form = {name: {"anyOf": [field, {"const": ""}]} for name, field in (fields | {"lora": IN_FORM}).items()}
    content = {
        "multipart/form-data": {"schema": {**whole, "properties": {**in_form, "input_reference": file}}},
        "application/json": {"schema": {**whole, "properties": nullable}},
    }
    return {"requestBody": {"required": True, "content": content}}


def _lenient(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a field of ours is described where a client may send a number or a truth value as a text."""
    kinds = {choice.get("type") for choice in (field, *field.get("anyOf", ()))} & {"boolean", "integer", "number"}
    if not kinds:
        return dict(field)
    return {"type": ["boolean", "number", "string", "array"], "description": field["description"]}


@dataclass(frozen=True, slots=True)
class VideoForm:
    """A request without its image, and where that is. ignored: fields that were sent and change nothing."""

    values: Mapping[str, Any]
    image: bytes | None
    image_url: str | None
    webhook_url: str | None
    ignored: tuple[str, ...]

    def request(self, image: bytes | None) -> VideoRequest:
        """Return the request with its image."""
        task = Task.TEXT_TO_VIDEO if image is None else Task.IMAGE_TO_VIDEO
        return make_request(**self.values, task=task, image=image)


async def read_form(request: Request) -> VideoForm:
    """Read a form, or JSON; raise `ValidationError` that names what cannot be."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        try:
            body = await request.json()
        except (ValueError, RecursionError) as error:
            raise ValidationError("The body is no JSON", {"body": "No JSON"}) from error
        if not isinstance(body, dict):
            raise ValidationError("The body is no JSON object", {"body": "No object"})
        return await _read(body.items())
    if kind not in _FORMS:
        message = f"A body of the kind {kind[:60]!r} cannot be read; send a form (multipart/form-data) or JSON"
        raise ValidationError(message, {"content-type": f"Must be application/json, or {' or '.join(_FORMS)}"})
    async with request.form(max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES) as form:
        # What a form leaves empty is not given.
        return await _read((name, value) for name, value in form.multi_items() if value != "")


async def _read(items: Iterable[tuple[str, Any]]) -> VideoForm:
    sent: dict[str, Any] = {}
    image, image_url = None, None
    ignored: list[str] = []
    loras: list[tuple[str, Any]] = []
    for name, value in items:
        known = _BRACKETS.fullmatch(name)
        plain = known[1] if known else name
        if value is None:
            continue
        if plain in _IMAGE_FIELDS:
            if image is not None or image_url is not None:
                raise ValidationError(f"{plain} is a second image; a video begins with one", {plain: "Second image"})
            if isinstance(value, UploadFile):
                image = await value.read()
            else:
                image_url = _address(value, plain)
        elif is_lora(name) and not isinstance(value, UploadFile):
            loras.append((name, value))
        elif plain in WITHOUT_EFFECT:
            ignored.append(plain)
        elif plain in _TAKEN and not isinstance(value, UploadFile):
            if plain in sent:
                raise ValidationError(f"{plain} is given twice", {plain: "Given twice"})
            sent[plain] = value
        else:
            told = name_in_reply(name)
            if plain in _TAKEN:
                raise ValidationError(f"{told} is sent as a file; only an image is one", {told: "Is no file"})
            raise ValidationError(f"There is no field {told!r}", {told: "Unknown field"})
    webhook_url = sent.pop(WEBHOOK_URL, None)
    if webhook_url is not None and not isinstance(webhook_url, str):
        raise ValidationError(f"{WEBHOOK_URL} must be a text", {WEBHOOK_URL: "Must be a text"})
    if "quality" in sent and sent["quality"] not in get_args(Quality):
        del sent["quality"]  # other engines' values say how fine the picture is, which the size says here
        ignored.append("quality")
    if {"seconds", "num_frames"} <= sent.keys():
        ignored.append("num_frames")
    values = _values(sent) | ({"lora": loras_of_fields(loras)} if loras else {})
    return VideoForm(values, image, image_url, webhook_url, tuple(sorted(set(ignored))))


def _values(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `VideoRequest`."""
    values = {name: sent[name] for name in _SAME if name in sent}
    for name in NUMBERS:
        if isinstance(values.get(name), bool):
            raise ValidationError(f"{name} must be a number", {name: "Must be a number"})
    for name in _COUNTS:
        if str(sent.get(name, 1)) != "1":
            raise ValidationError(f"{name} must be 1: one request makes one video", {name: "Must be 1"})
    if isinstance(values.get("seed"), list):
        if len(values["seed"]) > 1:
            raise ValidationError("seed must be one: one request makes one video", {"seed": "Must be one"})
        values["seed"] = values["seed"][0] if values["seed"] else None
    if "size" in sent:
        size = _SIZE.fullmatch(str(sent["size"]).strip())
        if size is None:
            raise ValidationError("size must be WIDTHxHEIGHT, such as 1280x720", {"size": "Must be WIDTHxHEIGHT"})
        for name, side in (("width", int(size[1])), ("height", int(size[2]))):
            if _number(values.get(name, side), name) != side:
                raise ValidationError(f"{name} and size differ; give one of them", {name: "Differs from size"})
            values[name] = side
    if "fps" in values:
        fps = _number(values["fps"], "fps")
        if not fps.is_integer():
            raise ValidationError("fps must be a whole number", {"fps": "Must be a whole number"})
        values["fps"] = int(fps)
    if "num_frames" in sent:
        values["duration"] = _number(sent["num_frames"], "num_frames") / max(1, values.get("fps", 8))
    if "seconds" in sent:
        values["duration"] = _number(sent["seconds"], "seconds")
    return values


def _number(value: Any, field: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValidationError(f"{field} must be a number", {field: "Must be a number"})
    return number


def _address(value: Any, field: str) -> str:
    """Return the address of an image: as it is, or as `{"image_url": ...}`."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValidationError(f"{field} is no JSON", {field: "No JSON"}) from error
    if isinstance(value, Mapping):
        value = value.get("image_url")
        if isinstance(value, Mapping):
            value = value.get("url")
    if not isinstance(value, str):
        raise ValidationError(f"{field} names no image; send a file, or image_url", {field: "No image"})
    return value
