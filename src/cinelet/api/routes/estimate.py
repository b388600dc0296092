"""`POST /v1/estimate`: what a video would take, before it is asked for."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from cinelet.api.bodies import PAIRS, Parameters, Prompt
from cinelet.api.choice_view import ChosenView, LeftOutView
from cinelet.api.json_body import JsonRoute
from cinelet.api.state import Service, WhoGenerates
from cinelet.domain.request import ImageFit, Task, make_request
from cinelet.jobs.estimate import Wanted
from cinelet.jobs.forecast import forecast

router = APIRouter(route_class=JsonRoute, tags=["videos"])


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
    """What a video would take, from what others of the model took here. Seconds."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    object: Literal["estimate"] = "estimate"
    requested_model: str
    model: str
    """What would run."""
    why: str
    """Why that."""
    order: list[ChosenView]
    """What would be tried, one after another until there is a video."""
    left_out: list[LeftOutView]
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
    cost: float | None
    """Expected, in `currency`; None where nobody knows."""
    currency: str
    cost_basis: str
    """What the cost is by, in words."""
    adjustments: list[dict[str, Any]]
    """What would be changed of the request, as far as that is known without loading the model."""


@router.post("/v1/estimate")
async def estimate(body: EstimateBody, service: Service, caller: WhoGenerates) -> EstimateView:
    """Say which model would make a video and why, what it would take, cost and change. Nothing is made or loaded."""
    task, jobs = Task(body.task), service.jobs
    jobs.queue.check_webhook(body.webhook_url)
    model = body.model or jobs.service.default_models[task]
    # Of a text, as no image is there; all else is checked as it would be.
    fields = {**body.values(), "task": Task.TEXT_TO_VIDEO, "model": model, "prompt": body.prompt or "a video"}
    wanted = make_request(**fields)
    service.open_models.require(caller, wanted)
    work = jobs.service.resolved(wanted).model_copy(update={"task": task})
    found = await forecast(jobs, work, body.wanted(), priority=body.priority)
    return EstimateView(
        requested_model=found.requested_model,
        model=found.model,
        why=found.order[0].why,
        order=[ChosenView(**one.to_dict()) for one in found.order],
        left_out=[LeftOutView(model=str(one.model), reason=one.reason) for one in found.left_out],
        seconds=_rounded(found.estimate.seconds),
        low=_rounded(found.estimate.low),
        high=_rounded(found.estimate.high),
        samples=found.estimate.samples,
        waiting=_rounded(found.waiting),
        basis=found.estimate.basis,
        cost=found.cost,
        currency=found.currency,
        cost_basis=found.cost_basis,
        adjustments=[change.to_dict() for change in found.adjustments],
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
