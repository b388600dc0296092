"""What is asked for, and the limits that it must keep."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from cinelet.domain.errors import FileSizeError, ValidationError
from cinelet.domain.lora import MAX_LORAS, Lora
from cinelet.domain.model import ModelReference

QualityPreset = Literal["low", "medium", "high"]
Codec = Literal["h264", "av1", "vp9"]
ImageFit = Literal["crop", "pad"]
Quality = Literal["fast", "balanced", "exact"]
"""exact: as plain diffusers, bit for bit. balanced, fast: with what nobody sees, or seldom."""
Strategy = Literal["ordered", "fastest", "most_reliable", "cheapest", "balanced"]
"""How the models that can do a request are ordered: as they are named, or by what was measured of them."""
CacheMode = Literal["use", "refresh", "off"]
"""use: look, make what is missing, keep it. refresh: make it anew and keep that. off: neither look nor keep."""

MAX_PROMPT_CHARACTERS = 1000
MAX_FPS = 60
MAX_STEPS = 100
MAX_GUIDANCE = 100
MIN_SIDE_PIXELS = 16
MAX_SIDE_PIXELS = 4096
MIN_AV1_SIDE_PIXELS = 64
"""SVT-AV1 hangs, rather than fails, on some smaller pictures (seen at 512x16)."""
MAX_SEED = 2**63 - 1
LOCAL_FIELDS = ("lora", "upscaler")
"""The fields that only a model on this machine can do: elsewhere they are refused, before anything is paid."""
CHOICE_FIELDS = ("prefer", "max_cost", "max_seconds")
"""The fields that say which of several models is to be taken."""
POLICY_FIELDS = frozenset({"task", "model", "fallback", "cache", *CHOICE_FIELDS})
"""The fields of a request that choose who makes the video, and whether; the others say what it is like."""

_NO_IMAGE = ("Image-to-video needs an image (PNG, JPEG or WebP)", "Missing")
_EMPTY_IMAGE = ("The image is empty (0 bytes); give a PNG, JPEG or WebP file", "Empty")


class Task(StrEnum):
    """What a model makes a video from."""

    TEXT_TO_VIDEO = "text-to-video"
    IMAGE_TO_VIDEO = "image-to-video"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that an operator sets. Durations are seconds, sizes are bytes."""

    max_duration: float = 30
    max_image_bytes: int = 20 * 1024 * 1024
    max_video_bytes: int = 500 * 1024 * 1024


class VideoRequest(BaseModel):
    """One video to make. `None` means that the model's own default is used.

    duration: seconds, 1 to the configured maximum. fps: frames a second, 1-60. width, height: pixels.
    image: the bytes of a PNG, JPEG or WebP file. seed: 0 to 2**63 - 1; chosen and reported if None. fallback: whether
    another model may do it where this one fails. cache: whether a video that was made before may be the answer.
    quality: what may be given up for speed. lora: changes to a model on this machine. upscaler: a model on this machine
    that makes the video anew at twice its size. prefer: how the models that can do it are ordered, by default as
    configured. max_cost, max_seconds: what a model may be expected to cost, in the price table's currency, and to take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    task: Task
    prompt: str | None = None
    image: bytes | None = Field(default=None, repr=False)
    model: str | None = None
    negative_prompt: str | None = None
    duration: float = 6
    fps: int = 8
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    image_fit: ImageFit = "crop"
    preset: QualityPreset | None = None
    codec: Codec = "h264"
    quality: Quality | None = None
    lora: tuple[Lora, ...] = ()
    upscaler: str | None = None
    fallback: bool = True
    cache: CacheMode = "use"
    prefer: Strategy | None = None
    max_cost: float | None = None
    max_seconds: float | None = None

    def check(self, limits: Limits) -> None:
        """Raise `ValidationError` (its `details` name each wrong field) or `FileSizeError`."""
        if self.image is not None and len(self.image) > limits.max_image_bytes:
            raise FileSizeError(len(self.image), limits.max_image_bytes, "image")
        problems = dict(self._problems(limits)) | {name: (why, why) for name, why in self._problems_of_additions()}
        if problems:
            message = "; ".join(sentence for sentence, _ in problems.values())
            raise ValidationError(message, {field: detail for field, (_, detail) in problems.items()})

    def _problems(self, limits: Limits) -> list[tuple[str, tuple[str, str]]]:
        """List (field, (sentence for the message, short text for the details))."""
        found: list[tuple[str, tuple[str, str]]] = []

        def bad(field: str, sentence: str, detail: str) -> None:
            found.append((field, (sentence, detail)))

        def in_range(field: str, name: str, value: float | None, low: float, high: float, *, unit: str = "") -> None:
            if value is not None and not low <= value <= high:
                bad(field, f"{name} must be {low:g}-{high:g}{unit}", f"Must be between {low:g} and {high:g}")

        if self.task is Task.TEXT_TO_VIDEO:
            if not self.prompt or not self.prompt.strip() or len(self.prompt) > MAX_PROMPT_CHARACTERS:
                bad("prompt", f"Prompt must be 1-{MAX_PROMPT_CHARACTERS} characters", "Invalid prompt length")
            if self.image is not None:
                bad("image", "An image needs the task image-to-video", "Not used by text-to-video")
        else:
            if not self.image:
                bad("image", *(_NO_IMAGE if self.image is None else _EMPTY_IMAGE))
            if self.prompt is not None and len(self.prompt) > MAX_PROMPT_CHARACTERS:
                bad("prompt", f"Prompt must be at most {MAX_PROMPT_CHARACTERS} characters", "Invalid prompt length")
        if self.negative_prompt is not None and len(self.negative_prompt) > MAX_PROMPT_CHARACTERS:
            bad(
                "negative_prompt",
                f"Negative prompt must be at most {MAX_PROMPT_CHARACTERS} characters",
                "Invalid prompt length",
            )
        for field, text in (("prompt", self.prompt), ("negative_prompt", self.negative_prompt)):
            if text is not None and not _is_unicode(text):
                bad(field, f"{field.replace('_', ' ').capitalize()} must be Unicode text", "Holds half a character")
        in_range("duration", "Duration", self.duration, 1, limits.max_duration, unit=" seconds")
        in_range("fps", "FPS", self.fps, 1, MAX_FPS)
        in_range("num_inference_steps", "Inference steps", self.num_inference_steps, 1, MAX_STEPS)
        in_range("guidance_scale", "Guidance scale", self.guidance_scale, 0, MAX_GUIDANCE)
        if self.seed is not None and not 0 <= self.seed <= MAX_SEED:
            bad("seed", "Seed must be 0 to 2**63 - 1", "Must be between 0 and 9223372036854775807")
        in_range("width", "Width", self.width, MIN_SIDE_PIXELS, MAX_SIDE_PIXELS, unit=" pixels")
        in_range("height", "Height", self.height, MIN_SIDE_PIXELS, MAX_SIDE_PIXELS, unit=" pixels")
        if (self.width is None) != (self.height is None):
            bad("size", "Give both width and height, or neither", "Both width and height, or neither")
        elif self.codec == "av1" and self.width and self.height and min(self.width, self.height) < MIN_AV1_SIDE_PIXELS:
            least = f"at least {MIN_AV1_SIDE_PIXELS} pixels"
            bad("codec", f"AV1 needs sides of {least}, not {self.width}x{self.height}; use h264", f"Sides of {least}")
        return found

    def _problems_of_additions(self) -> Iterator[tuple[str, str]]:
        """Give (field, sentence) of what is wrong with the models beside the model, and with the choice of it."""
        if len(self.lora) > MAX_LORAS:
            yield "lora", f"A video takes at most {MAX_LORAS} LoRAs"
        for lora in self.lora:
            if why := lora.problem():
                yield "lora", f"The LoRA {lora.path[:80]!r} cannot be used: {why}"
        for name in ("max_cost", "max_seconds"):
            most = getattr(self, name)
            if most is not None and not (math.isfinite(most) and most > 0):
                yield name, f"{name} must be a number above 0"
        if self.upscaler is not None and (why := _no_upscaler(self.upscaler)):
            yield "upscaler", f"The upscaler {self.upscaler[:80]!r} cannot be used: {why}"

    def refuse_local_fields(self, host: str) -> None:
        """Raise `ValidationError` if something is asked that only a model on this machine can do. host: who cannot."""
        asked = [name for name in LOCAL_FIELDS if getattr(self, name)]
        if asked:
            message = f"{host} takes no {' and no '.join(asked)}; use a model on this machine, such as local:org/name"
            raise ValidationError(message, dict.fromkeys(asked, "Only for a model on this machine"))


def _no_upscaler(text: str) -> str | None:
    """Return why a text names no model of this machine, or None."""
    try:
        reference = ModelReference.parse(text)
    except ValidationError as error:
        return str(error)
    return None if reference.scheme in {"local", "hub"} else "it must run on this machine, as local:org/name does"


def make_request(**values: Any) -> VideoRequest:
    """Return a request, or raise `ValidationError` that names each field of a wrong type; values are not repeated."""
    try:
        return VideoRequest(**values)
    except pydantic.ValidationError as error:
        details = {".".join(map(str, problem["loc"])): problem["msg"] for problem in error.errors(include_input=False)}
        message = "; ".join(f"{field}: {why}" for field, why in details.items())
        raise ValidationError(message, details) from None


def _is_unicode(text: str) -> bool:
    """Tell whether a text can be written as UTF-8; a shell hands over other bytes as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
