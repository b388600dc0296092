"""`POST /v1/estimate`: how long a video would take, before it is asked for."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from cinelet.api.bodies import PAIRS, Parameters, Prompt
from cinelet.api.state import Jobs, WhoGenerates
from cinelet.domain.request import ImageFit, Task, make_request
from cinelet.jobs.estimate import Wanted
from cinelet.jobs.estimator import Estimator

router = APIRouter(tags=["videos"])


class EstimateBody(Parameters):
    """A video to estimate: what would be asked for, of which nothing has to be there."""

    # No form brings numbers as texts here.
    model_config = ConfigDict(
        strict=True, json_schema_extra={**PAIRS, "examples": [{"model": "embedded", "duration": 2}]}
    )

    task: Literal["text-to-video", "image-to-video"] = "text-to-video"
    """Chooses the default model; an image itself is not needed."""
    prompt: Prompt | None = None
    """Changes nothing."""
    image_fit: ImageFit = "crop"
    """Changes nothing."""

    def wanted(self) -> Wanted:
        """Return what tells how long it takes."""
        size = (self.width, self.height) if self.width and self.height else None
        return Wanted(duration=self.duration, fps=self.fps, steps=self.num_inference_steps, size=size)


class EstimateView(BaseModel):
    """How long a video would take, from what others of the model took here. Seconds."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    object: Literal["estimate"] = "estimate"
    model: str
    seconds: float | None
    """From its begin to its end; None where nothing was measured."""
    low: float | None
    high: float | None
    """Four out of five lie between these two."""
    samples: int
    """How many videos that is from, 50 at most."""
    waiting: float | None
    """Until it begins; None where that is not known, as where no worker runs."""
    basis: str
    """What the estimate is made of, in words."""


@router.post("/v1/estimate")
async def estimate(body: EstimateBody, jobs: Jobs, _: WhoGenerates) -> EstimateView:
    """Estimate how long a video would take, and how long it would wait. Nothing is made, loaded or asked elsewhere."""
    model = body.model or jobs.service.default_models[Task(body.task)]
    # Of a text, as no image is there; all else is checked as it would be.
    fields = {**body.values(), "task": Task.TEXT_TO_VIDEO, "model": model, "prompt": body.prompt or "a video"}
    work = jobs.service.resolved(make_request(**fields))
    model = str(work.model)
    estimator = Estimator(jobs.database, await jobs.roster.list())
    found = await estimator.estimate(model, body.wanted())
    waiting = await estimator.waiting(jobs.queue.queue_of(model), priority=body.priority)
    return EstimateView(
        model=model,
        seconds=_rounded(found.seconds),
        low=_rounded(found.low),
        high=_rounded(found.high),
        samples=found.samples,
        waiting=_rounded(waiting),
        basis=found.basis,
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
