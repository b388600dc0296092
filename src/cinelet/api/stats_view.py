"""How models did lately, as clients see it. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from cinelet.api.choice_view import ChosenView, LeftOutView
from cinelet.jobs.next_models import Next
from cinelet.jobs.statistics import LOCAL, Count, Statistics


class _View(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Spread(_View):
    """Half of all were at most p50, 19 of 20 at most p95; within a twentieth. Null where there are none."""

    p50: float | None
    p95: float | None


class CodeCount(_View):
    """How many attempts ended with an error of this code."""

    code: str
    count: int


class CountView(_View):
    """Attempts and what came of them."""

    attempts: int
    succeeded: int
    failed: int
    neither: int
    """Their end says nothing about the model: cancelled, a wrong request, a host that is left alone."""
    success_rate: float | None
    """Of those that succeeded or failed; null where there are none."""
    seconds_per_video_second: Spread
    queue_seconds: Spread
    """From when a generation could begin to when it began, at its first attempt."""
    work_seconds: float
    """Of all attempts together."""
    video_seconds: float
    """Of what was made."""
    cost: float | None
    """Of those attempts whose cost is known; null where it is of none."""
    unpriced: int
    """Attempts whose cost is not known."""
    errors: list[CodeCount]
    """The most frequent first, ten at most."""

    @classmethod
    def of(cls, count: Count, **more: object) -> Self:
        """Return counts as clients see them."""
        return cls.model_validate(
            {
                "attempts": count.attempts,
                "succeeded": count.succeeded,
                "failed": count.failed,
                "neither": count.neither,
                "success_rate": count.success_rate,
                "seconds_per_video_second": Spread(p50=_rounded(count.rate(0.5)), p95=_rounded(count.rate(0.95))),
                "queue_seconds": Spread(p50=_rounded(count.wait(0.5)), p95=_rounded(count.wait(0.95))),
                "work_seconds": round(count.work_seconds, 3),
                "video_seconds": round(count.video_seconds, 3),
                "cost": count.known_cost,
                "unpriced": count.attempts - count.priced,
                "errors": [CodeCount(code=code, count=number) for code, number in count.errors()],
                **more,
            }
        )


class ModelStats(CountView):
    """A model where it ran."""

    model: str
    provider: str
    """Who ran it; `local`: a machine of this service."""
    work_share: float
    """Of the work of all attempts in the window."""


class QueueStats(_View):
    """What waits and runs now for a model, as it was asked for."""

    model: str
    queued: int
    in_progress: int
    share: float
    """Of all that waits and runs."""


class StatsView(_View):
    """What became of a window that ends now. For an administrator of all owners, for others of their own."""

    model_config = ConfigDict(use_attribute_docstrings=True, populate_by_name=True)

    object: Literal["stats"] = "stats"
    window: str
    since: float
    until: float
    owner: str | None
    """Whose; null for everybody's."""
    currency: str
    total: CountView
    models: list[ModelStats]
    """Those with the most attempts first, 50 at most."""
    more_models: int
    """How many there are beside these."""
    queue: list[QueueStats]
    """The models for which most waits and runs, 50 at most."""


class NextView(_View):
    """What would be tried for the next request for `auto` of a task."""

    task: Literal["text-to-video", "image-to-video"]
    strategy: str | None
    """By which the models are ordered; null where there is nothing to order."""
    order: list[ChosenView]
    """One after another, until there is a video."""
    left_out: list[LeftOutView]
    why_not: str
    """Why nothing would be tried; empty where something would."""


class NextList(_View):
    """For each task."""

    object: Literal["list"] = "list"
    data: list[NextView]


def next_list(found: Sequence[Next]) -> NextList:
    """Return what would be tried next as clients see it."""
    return NextList(
        data=[
            NextView(
                task=one.task.value,
                strategy=one.selection.strategy if one.selection else None,
                order=[ChosenView(**chosen.to_dict()) for chosen in one.selection.order] if one.selection else [],
                left_out=[LeftOutView(model=str(out.model), reason=out.reason) for out in one.selection.left_out]
                if one.selection
                else [],
                why_not=one.why_not,
            )
            for one in found
        ]
    )


def stats_view(found: Statistics, *, window: str, owner: str | None, currency: str) -> StatsView:
    """Return statistics as clients see them."""
    all_work = found.total.work_seconds
    open_now = sum(one.queued + one.in_progress for one in found.waiting)
    return StatsView(
        window=window,
        since=found.since.timestamp(),
        until=found.until.timestamp(),
        owner=owner,
        currency=currency,
        total=CountView.of(found.total),
        models=[
            ModelStats.of(
                count,
                model=count.model,
                provider=count.provider or LOCAL,
                work_share=round(count.work_seconds / all_work, 6) if all_work else 0.0,
            )
            for count in found.models
        ],
        more_models=found.more_models,
        queue=[
            QueueStats(
                model=one.model,
                queued=one.queued,
                in_progress=one.in_progress,
                share=round((one.queued + one.in_progress) / open_now, 6),
            )
            for one in found.waiting
        ],
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
