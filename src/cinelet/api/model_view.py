"""A model as clients see it: what it can do here, where it is loaded, and what may be asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from pydantic import BaseModel, ConfigDict

from cinelet.domain.backend import Capabilities
from cinelet.domain.errors import ValidationError
from cinelet.domain.model import ModelReference
from cinelet.domain.request import (
    MAX_FPS,
    MAX_GUIDANCE,
    MAX_PROMPT_CHARACTERS,
    MAX_SIDE_PIXELS,
    MAX_STEPS,
    MIN_SIDE_PIXELS,
    Limits,
)
from cinelet.jobs.roster import KnownWorker
from cinelet.media.signature import IMAGE_TYPES


class _View(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class FrameRuleView(_View):
    """Frame counts that it can make: `multiple * k + offset`, within bounds."""

    multiple: int
    offset: int
    minimum: int
    maximum: int | None


class OfferView(_View):
    """A provider that lists the model. why_not: what is in the way of using it, if anything."""

    provider: str
    task: str
    status: str
    provider_model: str
    why_not: str


class LoadedView(_View):
    """A worker that has the model ready, so that a video begins at once."""

    worker: str
    device: str


class RequestLimits(_View):
    """What may be asked of any model here: the least and the most; duration is seconds, sides are pixels."""

    prompt_characters: tuple[int, int]
    duration: tuple[float, float]
    fps: tuple[int, int]
    num_inference_steps: tuple[int, int]
    guidance_scale: tuple[float, float]
    side: tuple[int, int]
    image_bytes: int
    """The most that an image may have."""
    image_types: list[str]


class ModelView(_View):
    """What a model can do here. Sizes are [width, height] in pixels; null means that nobody knows."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str
    model: str
    tasks: list[Literal["image-to-video", "text-to-video"]]
    runs_on: str
    parameters: list[str]
    """Fields of a request that have an effect."""
    native_fps: float | None
    frame_rule: FrameRuleView | None
    size_multiple: int | None
    default_size: tuple[int, int] | None
    default_steps: int | None
    default_guidance: float | None
    license: str | None
    description: str
    vocabulary: dict[str, list[str]]
    """Words that it knows, by kind, where that is a closed set."""
    examples: list[str]
    """Prompts that it does well, to begin with."""
    offers: list[OfferView]
    """Who runs it, in the order in which they are tried."""
    loaded: list[LoadedView]
    limits: RequestLimits


def model_view(capabilities: Capabilities, *, workers: Sequence[KnownWorker], limits: Limits) -> ModelView:
    """Return a model. workers: those that were heard of lately."""
    facts = asdict(capabilities)
    facts |= {"tasks": sorted(task.value for task in capabilities.tasks), "parameters": sorted(capabilities.parameters)}
    loaded = [
        LoadedView(worker=worker.name, device=model.device)
        for worker in workers
        for model in worker.report.condition.models
        if _is_same(model.model, capabilities.model)
    ]
    return ModelView(
        **facts, id=capabilities.model, owned_by=capabilities.runs_on, loaded=loaded, limits=_request_limits(limits)
    )


def _request_limits(limits: Limits) -> RequestLimits:
    return RequestLimits(
        prompt_characters=(1, MAX_PROMPT_CHARACTERS),
        duration=(1, limits.max_duration),
        fps=(1, MAX_FPS),
        num_inference_steps=(1, MAX_STEPS),
        guidance_scale=(0, MAX_GUIDANCE),
        side=(MIN_SIDE_PIXELS, MAX_SIDE_PIXELS),
        image_bytes=limits.max_image_bytes,
        image_types=list(IMAGE_TYPES.values()),
    )


def _is_same(one: str, other: str) -> bool:
    """Tell whether two references name the same model on a machine: a Hub id may say that it runs there."""
    try:
        first, second = ModelReference.parse(one), ModelReference.parse(other)
    except ValidationError:
        return one == other
    return first == second or (first.name == second.name and {first.scheme, second.scheme} == {"hub", "local"})
