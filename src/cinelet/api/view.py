"""A generation as clients see it: what it is, what was asked, what came of it, and nothing that is ours alone."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from cinelet.domain.preview import PreviewLayout
from cinelet.jobs.events import Event
from cinelet.jobs.generation import Generation
from cinelet.jobs.ledger import IMAGE_KEY

_INSIDE = frozenset({"blob", "asked", "adjustments", "attempts", "model", "requested_model"})
"""Of a stored result: ours alone, or said elsewhere in the view."""


class Links(BaseModel):
    """Where the parts of a generation are, as paths; None while there is no such thing."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    self: str
    events: str
    image: str | None
    video: str | None
    thumbnail: str | None
    spritesheet: str | None
    preview: str | None
    """A small picture of what is being made: while it is, and with an address of its own for each picture."""


class GenerationView(BaseModel):
    """One request and what became of it. Times are seconds since the epoch."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    object: Literal["generation"] = "generation"
    state: Literal["queued", "in_progress", "completed", "failed", "cancelled"]
    progress: float
    """0 to 1; 1 means that the video is stored."""
    stage: str | None
    step: int
    steps: int
    eta_seconds: float | None
    position: int | None = None
    """How many wait before it, where it waits and is asked for alone."""
    note: str
    model: str | None
    """What made it, once that is known."""
    requested_model: str
    request: dict[str, Any]
    result: dict[str, Any] | None
    """What was measured from the file, and how its pictures are laid out."""
    adjustments: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    error: dict[str, Any] | None
    priority: int
    cancel_requested: bool
    trace_id: str | None
    """Of the trace that its log lines and spans belong to."""
    created_at: float
    started_at: float | None
    finished_at: float | None
    links: Links


class GenerationPage(BaseModel):
    """A page, the newest first. next: what to give as `after` for the page that follows, None on the last one."""

    data: list[GenerationView]
    next: str | None


def view_of(generation: Generation, *, position: int | None = None) -> GenerationView:
    """Return a generation as clients see it. position: in its queue, where somebody has looked."""
    result = generation.result
    request = {name: value for name, value in generation.request.items() if name != IMAGE_KEY}
    if IMAGE_KEY in generation.request:
        request["image"] = generation.request[IMAGE_KEY].rpartition("/")[2].partition(".")[0]
    return GenerationView(
        id=generation.id,
        state=generation.state.value,
        progress=generation.progress,
        stage=generation.stage,
        step=generation.step,
        steps=generation.steps,
        eta_seconds=generation.eta_seconds,
        position=position,
        note=generation.note,
        model=generation.model,
        requested_model=generation.requested_model,
        request=request,
        result=None if result is None else _result(result),
        adjustments=[] if result is None else result["adjustments"],
        attempts=generation.attempts,
        error=generation.error,
        priority=generation.priority,
        cancel_requested=generation.cancel_requested,
        trace_id=generation.trace_id,
        created_at=generation.created_at.timestamp(),
        started_at=generation.started_at and generation.started_at.timestamp(),
        finished_at=generation.finished_at and generation.finished_at.timestamp(),
        links=_links(generation),
    )


def previews_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return how the pictures of a video are laid out, which follows from what was measured."""
    width, _, height = result["resolution"].partition("x")
    return PreviewLayout.of(
        width=int(width), height=int(height), frames=result["frames"], seconds=result["duration"]
    ).to_dict()


def _result(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in _INSIDE} | previews_of(result)


def _links(generation: Generation) -> Links:
    where = f"/v1/generations/{generation.id}"
    made = ("video", "thumbnail", "spritesheet")
    return Links(
        self=where,
        events=f"{where}/events",
        image=f"{where}/image" if IMAGE_KEY in generation.request else None,
        preview=_preview(generation.id, generation.previews),
        **{name: None if generation.result is None else f"{where}/{name}" for name in made},
    )


def _preview(generation_id: str, number: int) -> str | None:
    return f"/v1/generations/{generation_id}/preview?number={number}" if number else None


def event_of(event: Event) -> dict[str, Any]:
    """Return an event as clients see it."""
    return {
        "state": event.state.value,
        "progress": event.progress,
        "stage": event.stage,
        "step": event.step,
        "steps": event.steps,
        "eta_seconds": event.eta_seconds,
        "note": event.note,
        "preview": _preview(event.generation_id, event.previews),
        "at": event.at.timestamp(),
    }
