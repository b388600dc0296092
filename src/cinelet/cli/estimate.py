"""`cinelet estimate`: what a video would take here, and which model would make it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cinelet.cli.choice import MaxCost, MaxSeconds, Prefer

if TYPE_CHECKING:
    from cinelet.jobs.forecast import Forecast


def estimate(
    *,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model, such as hf:org/name:provider.")] = None,
    task: Annotated[
        Literal["text-to-video", "image-to-video"], typer.Option(help="Whose default model, where none is named.")
    ] = "text-to-video",
    duration: Annotated[float, typer.Option("--duration", "-d", help="Seconds of video.")] = 6,
    fps: Annotated[int, typer.Option(help="Frames a second, 1-60.")] = 8,
    steps: Annotated[int | None, typer.Option(help="Denoising steps, 1-100; by default the model's own.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels; by default the model's own.")] = None,
    prefer: Prefer = None,
    max_cost: MaxCost = None,
    max_seconds: MaxSeconds = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Estimate what a video would take and cost, and say which model would make it. Nothing is made or loaded."""
    import asyncio
    import json

    from cinelet.assembly import durable_jobs, require_directory, require_served
    from cinelet.cli.generate import size_of
    from cinelet.config import Config
    from cinelet.domain.request import Task, make_request
    from cinelet.jobs.estimate import Wanted
    from cinelet.jobs.forecast import forecast

    width, height = size_of(size)
    config = Config()
    named = config.default_models[Task(task)] if model is None else model
    require_served(config, named)
    require_directory(named)

    async def asked() -> Forecast:
        async with durable_jobs(config) as jobs:
            request = make_request(
                task=Task.TEXT_TO_VIDEO,
                prompt="a video",
                model=named,
                duration=duration,
                fps=fps,
                num_inference_steps=steps,
                width=width,
                height=height,
                prefer=prefer,
                max_cost=max_cost,
                max_seconds=max_seconds,
            )
            work = jobs.service.resolved(request).model_copy(update={"task": Task(task)})
            wanted = Wanted(duration, fps, steps, (width, height) if width and height else None)
            return await forecast(jobs, work, wanted)

    found = asyncio.run(asked())
    typer.echo(json.dumps(_facts(found)) if as_json else "\n".join(_lines(found)))


def _facts(found: Forecast) -> dict[str, Any]:
    known = found.estimate
    return {
        "requested_model": found.requested_model,
        "model": found.model,
        "why": found.order[0].why,
        "order": [one.to_dict() for one in found.order],
        "left_out": [{"model": str(one.model), "reason": one.reason} for one in found.left_out],
        "seconds": known.seconds,
        "low": known.low,
        "high": known.high,
        "samples": known.samples,
        "waiting": found.waiting,
        "basis": known.basis,
        "cost": found.cost,
        "currency": found.currency,
        "cost_basis": found.cost_basis,
        "adjustments": [change.to_dict() for change in found.adjustments],
    }


def _lines(found: Forecast) -> list[str]:
    known, waiting = found.estimate, found.waiting
    lines = []
    if known.seconds is None:
        lines.append(f"{found.model}: unknown; {known.basis}")
    else:
        lines.append(f"{found.model}: {known.seconds:.1f} s ({known.low:.1f} to {known.high:.1f}); {known.basis}")
    if found.model != found.requested_model or len(found.order) > 1:
        lines.append(f"  chosen: {found.order[0].why}")
        lines += [f"  then {one.model} ({one.why})" for one in found.order[1:]]
    lines += [f"  left out {one.model}: {one.reason}" for one in found.left_out]
    lines.append(
        "when it begins is unknown"
        if waiting is None
        else f"begins in {waiting:.0f} s"
        if waiting
        else "begins at once"
    )
    cost = "cost unknown" if found.cost is None else f"costs about {found.cost:g} {found.currency}"
    lines.append(f"{cost}; {found.cost_basis}")
    lines += [f"would change {change.parameter}: {change.reason}" for change in found.adjustments]
    return lines
