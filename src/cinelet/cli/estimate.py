"""`cinelet estimate`: how long a video would take here."""

from __future__ import annotations

from typing import Annotated, Literal

import typer


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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Estimate how long a video would take, from those that were made here as jobs. Nothing is made or loaded."""
    import asyncio
    import json

    from cinelet.assembly import durable_jobs
    from cinelet.cli.generate import size_of
    from cinelet.domain.request import Task, make_request
    from cinelet.jobs.estimate import Estimate, Wanted
    from cinelet.jobs.estimator import Estimator

    width, height = size_of(size)

    async def asked() -> tuple[str, Estimate, float | None]:
        async with durable_jobs() as jobs:
            request = make_request(
                task=Task.TEXT_TO_VIDEO,
                prompt="a video",
                model=model or jobs.service.default_models[Task(task)],
                duration=duration,
                fps=fps,
                num_inference_steps=steps,
                width=width,
                height=height,
            )
            name = str(jobs.service.resolved(request).model)
            wanted = Wanted(duration, fps, steps, (width, height) if width and height else None)
            estimator = Estimator(jobs.database, await jobs.roster.list())
            return name, await estimator.estimate(name, wanted), await estimator.waiting(jobs.queue.queue_of(name))

    name, found, waiting = asyncio.run(asked())
    if as_json:
        facts = {"seconds": found.seconds, "low": found.low, "high": found.high, "samples": found.samples}
        typer.echo(json.dumps({"model": name, **facts, "waiting": waiting, "basis": found.basis}))
        return
    if found.seconds is None:
        typer.echo(f"{name}: unknown; {found.basis}")
    else:
        typer.echo(f"{name}: {found.seconds:.1f} s ({found.low:.1f} to {found.high:.1f}); {found.basis}")
    begins = (
        "when it begins is unknown"
        if waiting is None
        else f"begins in {waiting:.0f} s"
        if waiting
        else "begins at once"
    )
    typer.echo(begins)
