"""A request as the form fields of `/v1/videos`, and what an engine's reply says that it made of them.

| field | from | read by |
|---|---|---|
| prompt, model, input_reference | the request | every engine |
| seconds | the duration, whole seconds: engines refuse others | those that do not know num_frames |
| size | width x height | every engine |
| num_frames, fps, width, height, seed, negative_prompt, num_inference_steps, guidance_scale | the request | most |
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from cinelet.domain.errors import ValidationError
from cinelet.domain.request import LOCAL_FIELDS, POLICY_FIELDS, VideoRequest
from cinelet.domain.result import Adjustment
from cinelet.media.signature import HEAD_BYTES, describe, kind_of

FormField = tuple[str, tuple[str | None, str | bytes, str | None]]
"""A name; a file name, the content and its type: the latter two are None for a plain field."""

NO_EFFECT: Mapping[str, Any] = {"image_fit": "crop", "preset": "medium", "codec": "h264", "quality": None}
"""Parameters that the protocol has no field for, and their defaults, which are not worth a word."""
PARAMETERS = frozenset(VideoRequest.model_fields) - POLICY_FIELDS - frozenset(NO_EFFECT) - frozenset(LOCAL_FIELDS)

_EXTENSIONS = ("fps", "width", "height", "num_inference_steps", "guidance_scale", "negative_prompt")
_IMAGES = {"PNG image": "png", "JPEG image": "jpeg", "WebP image": "webp"}
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)


def form_of(request: VideoRequest, *, model: str, seed: int) -> list[FormField]:
    """Return the fields, or raise `ValidationError` for an image that no engine reads."""
    values: dict[str, Any] = {
        "prompt": request.prompt,
        "model": model,
        "seconds": math.ceil(request.duration),
        "size": f"{request.width}x{request.height}" if request.width and request.height else None,
        "num_frames": frame_count(request),
        **{name: getattr(request, name) for name in _EXTENSIONS},
        "seed": seed,
    }
    form: list[FormField] = [(name, (None, str(value), None)) for name, value in values.items() if value is not None]
    if request.image is not None:
        kind = _IMAGES.get(kind_of(request.image[:HEAD_BYTES]) or "")
        if kind is None:
            what = describe(request.image[:HEAD_BYTES], quote=False)
            raise ValidationError(f"The image is {what}; give a PNG, JPEG or WebP file", {"image": "Not an image"})
        form.append(("input_reference", (f"image.{kind}", request.image, f"image/{kind}")))
    return form


def frame_count(request: VideoRequest) -> int:
    """Return how many frames the duration has."""
    return max(1, round(request.duration * request.fps))


def applied_by(reply: Mapping[str, Any], request: VideoRequest, *, seed: int | None) -> dict[str, Any]:
    """Return the parameters as the engine has them, by its own account where it gives one, else as they were sent."""
    names = (*_EXTENSIONS, "duration")
    applied = {name: value for name in names if (value := getattr(request, name)) is not None}
    applied["num_frames"] = frame_count(request)
    if seed is not None:
        applied["seed"] = seed
    fps, frames = _number(reply.get("fps")), _number(reply.get("num_frames"))
    if fps:
        applied["fps"] = fps
    if frames:
        applied["num_frames"] = frames
    if frames or fps:
        applied["duration"] = round(applied["num_frames"] / applied["fps"], 3)
    elif (seconds := _number(reply.get("seconds"))) and seconds != math.ceil(request.duration):
        # Engines count in whole seconds, so a duration between them is as it was asked.
        applied["duration"] = seconds
    if size := _SIZE.fullmatch(str(reply.get("size"))):
        applied["width"], applied["height"] = int(size[1]), int(size[2])
    return applied


def adjustments_of(request: VideoRequest, applied: Mapping[str, Any]) -> tuple[Adjustment, ...]:
    """List what the engine says that it changed, and what it cannot be asked for."""
    found = []
    for name in ("duration", "fps", "width", "height"):
        asked, made = getattr(request, name), applied.get(name)
        slack = 0.5 / request.fps if name == "duration" else 0
        if asked is not None and made is not None and abs(made - asked) > slack:
            found.append(Adjustment(name, asked, made, "the engine says that it makes this instead"))
    for name, default in NO_EFFECT.items():
        asked = getattr(request, name)
        if asked not in {None, default}:
            found.append(Adjustment(name, asked, None, "the protocol of the engine has no field for it"))
    return tuple(found)


def _number(value: Any) -> int | float | None:
    """Return a positive number that a reply holds, also as text; whole ones as int."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if isinstance(value, bool) or not 0 < number < 1_000_000:
        return None
    return int(number) if number.is_integer() else number
