"""`cinelet jobs`: what became of the generations that were asked for, and what is still to come."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cinelet.cli.choice import MaxCost, MaxSeconds, Prefer
from cinelet.domain.errors import CineletError, ValidationError
from cinelet.domain.money import money

if TYPE_CHECKING:
    from cinelet.jobs.durable import DurableJobs
    from cinelet.jobs.generation import Generation

app = typer.Typer(rich_markup_mode=None)

Id = Annotated[str, typer.Argument(help="The generation, such as gen_...; its first characters do.", metavar="ID")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MIN_PREFIX_CHARACTERS = 8
MAX_PRIORITY = 100
"""As over HTTP."""
MAX_DELAY_SECONDS = 366 * 24 * 3600
_INSIDE = frozenset({"handle", "idempotency_key", "cache_key", "traceparent", "attempt_traceparent"})
_Result = TypeVar("_Result")


@app.command()
def submit(
    prompt: Annotated[str | None, typer.Argument(help="What the video shows.", show_default=False)] = None,
    *,
    image: Annotated[Path | None, typer.Option(help="Begin with this PNG, JPEG or WebP image.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model, such as hf:org/name:provider.")] = None,
    duration: Annotated[float, typer.Option("--duration", "-d", help="Seconds.")] = 6,
    fps: Annotated[int, typer.Option(help="Frames a second, 1-60.")] = 8,
    steps: Annotated[int | None, typer.Option(help="Denoising steps; by default the model's own.")] = None,
    seed: Annotated[int | None, typer.Option(help="Repeat a video with its seed.")] = None,
    prefer: Prefer = None,
    max_cost: MaxCost = None,
    max_seconds: MaxSeconds = None,
    priority: Annotated[int, typer.Option(min=-MAX_PRIORITY, max=MAX_PRIORITY, help="Higher ones go first.")] = 0,
    delay: Annotated[float, typer.Option(min=0, max=MAX_DELAY_SECONDS, help="Begin after so many seconds.")] = 0,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same one gives the same generation.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a video, and return at once; a worker makes it (cinelet worker)."""
    from cinelet.assembly import require_served
    from cinelet.config import Config
    from cinelet.domain.request import Task, make_request
    from cinelet.door import read_image

    task, config = Task.TEXT_TO_VIDEO if image is None else Task.IMAGE_TO_VIDEO, Config()
    # Said at once, not by a worker later; so a plugin must be installed where this runs as well.
    require_served(config, config.default_models[task] if model is None else model)
    request = make_request(
        task=task,
        prompt=prompt,
        image=None if image is None else read_image(image),
        model=model,
        duration=duration,
        fps=fps,
        num_inference_steps=steps,
        seed=seed,
        prefer=prefer,
        max_cost=max_cost,
        max_seconds=max_seconds,
    )

    async def submitted(jobs: DurableJobs) -> None:
        not_before = datetime.now().astimezone() + timedelta(seconds=delay) if delay else None
        inserted = await jobs.queue.submit(request, priority=priority, not_before=not_before, idempotency_key=key)
        generation = inserted.generation
        if as_json:
            typer.echo(json.dumps(facts_of(generation)))
            return
        typer.echo(generation.id)
        if not inserted.created:
            typer.echo(f"asked for before, and {generation.state}", err=True)

    _with_jobs(submitted)


@app.command("list")
def list_jobs(
    *,
    state: Annotated[str | None, typer.Option(help="Only queued, in_progress, completed, failed or cancelled.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only those of this model.")] = None,
    text: Annotated[str | None, typer.Option(help="Only those whose prompt has this in it, in whatever case.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List generations, the newest first."""
    from cinelet.jobs.states import State

    if state is not None and state not in set(State):
        raise ValidationError(f"There is no state {state!r}; the states are {', '.join(State)}", {"state": "Unknown"})

    async def listed(jobs: DurableJobs) -> None:
        chosen = None if state is None else State(state)
        page = await jobs.ledger.list(state=chosen, model=model, text=text or None, limit=limit)
        if as_json:
            typer.echo(json.dumps([facts_of(generation) for generation in page.generations]))
            return
        for generation in page.generations:
            typer.echo(_line(generation))
        if page.next is not None:
            typer.echo(f"... and more; --limit {min(1000, 5 * limit)} shows more", err=True)
        if not page.generations:
            typer.echo("no generations", err=True)

    _with_jobs(listed)


@app.command()
def show(generation_id: Id, *, as_json: AsJson = False) -> None:
    """Show all that is known of a generation."""

    async def shown(jobs: DurableJobs) -> None:
        generation = await _found(jobs, generation_id)
        if as_json:
            typer.echo(json.dumps(facts_of(generation)))
            return
        typer.echo("\n".join(_details(generation, position=await jobs.ledger.position(generation.id))))

    _with_jobs(shown)


@app.command()
def watch(generation_id: Id, *, as_json: AsJson = False) -> int:
    """Follow a generation until it ends; exits with 1 where there is no video."""

    async def watched(jobs: DurableJobs) -> int:
        generation = await _found(jobs, generation_id)
        async for event in jobs.events.watch(generation.id):
            if as_json:
                typer.echo(json.dumps(dataclasses.asdict(event), default=str))
                continue
            eta = "" if event.eta_seconds is None else f", {event.eta_seconds:.0f} s left"
            steps = f" {event.step}/{event.steps}" if event.steps else ""
            stage = f" {event.stage}{steps}" if event.stage and not event.state.final else ""
            note = f" {event.note}" if event.note and not event.state.final else ""
            typer.echo(f"{event.progress:4.0%} {event.state}{stage}{eta}{note}")
        ended = await _found(jobs, generation.id)
        if not as_json and ended.error:
            typer.echo(f"error: {ended.error['message']}", err=True)
        return 0 if ended.result is not None else 1

    return _with_jobs(watched)


@app.command()
def cancel(generation_id: Id) -> None:
    """Cancel a generation: at once where it waits, at its provider or within a step where it runs."""

    async def cancelled(jobs: DurableJobs) -> None:
        found = await _found(jobs, generation_id)
        if found.state.final:
            typer.echo(f"{found.id} is {found.state} already")
            return
        after = await jobs.ledger.request_cancel(found.id)
        still_runs = after is not None and not after.state.final
        typer.echo(f"{found.id} is {'being cancelled' if still_runs else after.state if after else 'gone'}")

    _with_jobs(cancelled)


@app.command()
def retry(
    generation_id: Id,
    *,
    anyway: Annotated[bool, typer.Option(help="Also where the first request may have arrived and be billed.")] = False,
) -> None:
    """Ask again for what failed or was cancelled; prints the new generation."""

    async def retried(jobs: DurableJobs) -> None:
        again = await jobs.queue.retry(await _found(jobs, generation_id), anyway=anyway)
        typer.echo(again.id)

    _with_jobs(retried)


@app.command()
def save(
    generation_id: Id,
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write, or a folder.")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,
) -> None:
    """Write the video of a completed generation to a file."""
    from cinelet.cli.output import single_target

    async def saved(jobs: DurableJobs) -> None:
        generation = await _found(jobs, generation_id)
        suffix = Path(generation.result["blob"]).suffix if generation.result else ".mp4"
        prompt = str(generation.request.get("prompt") or generation.id)
        target = single_target(output, prompt=prompt, suffix=suffix, force=force)
        typer.echo(str(await jobs.queue.save(generation, target)))

    _with_jobs(saved)


def facts_of(generation: Generation) -> dict[str, Any]:
    """Return a generation as JSON values; what a provider gave us to ask again by stays inside."""
    facts = dataclasses.asdict(generation)
    facts["trace_id"] = generation.trace_id
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in facts.items()
        if name not in _INSIDE
    }


def _with_jobs(work: Callable[[DurableJobs], Awaitable[_Result]]) -> _Result:
    import asyncio

    from cinelet.assembly import durable_jobs
    from cinelet.config import Config
    from cinelet.observability import exporting

    config = Config()

    async def done() -> _Result:
        async with durable_jobs(config) as jobs:
            return await work(jobs)

    with exporting.exported(**config.tracing, process="jobs"):
        return asyncio.run(done())


async def _found(jobs: DurableJobs, generation_id: str) -> Generation:
    """Return a generation by its id, or by the beginning of it among the newest thousand."""
    found = await jobs.ledger.get(generation_id)
    if found is None and len(generation_id) >= MIN_PREFIX_CHARACTERS:
        newest = (await jobs.ledger.list(limit=1000)).generations
        matching = [generation for generation in newest if generation.id.startswith(generation_id)]
        found = matching[0] if len(matching) == 1 else None
    if found is None:
        message = f"There is no generation {generation_id!r:.60}; cinelet jobs list shows them"
        raise _NoSuchGenerationError(message)
    return found


class _NoSuchGenerationError(CineletError):
    code = "generation_not_found"


def _line(generation: Generation) -> str:
    asked = " ".join(str(generation.request.get("prompt") or "(image)").split())
    state = f"{generation.state} {generation.progress:.0%}" if generation.state == "in_progress" else generation.state
    when = generation.created_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return f"{generation.id}  {when}  {state:<16}  {generation.model or generation.requested_model:<24.40}  {asked:.60}"


def _details(generation: Generation, *, position: int | None) -> list[str]:
    lines = [_line(generation)]
    if position is not None:
        lines.append(f"  {position} before it in the queue {generation.queue}")
    if generation.follows is not None and generation.state == "queued":
        lines.append(f"  waits for {generation.follows}, which makes the same video")
    if generation.stage and not generation.state.final:
        lines.append(f"  {generation.stage} {generation.step}/{generation.steps} {generation.note}".rstrip())
    if generation.result is not None:
        result = generation.result
        lines.append(f"  {result['resolution']}, {result['duration']:g} s, {result['video_size']:,} bytes")
        lines += [f"  adjusted {change['parameter']}: {change['reason']}" for change in result["adjustments"]]
        lines.append(f"  seed {result['seed']}, cache: {result['cache']}")
        if result.get("cost"):
            lines.append(f"  cost {money(result['cost'], result['currency'])}")
        lines.append(f"  cinelet jobs save {generation.id}")
    if generation.error is not None:
        lines.append(f"  error: {generation.error['message']}")
    lines += [
        f"  tried {attempt['model']} for {attempt['seconds']:.1f} s"
        + (f": {attempt['error']['message']}" if attempt["error"] else "")
        + (f" ({attempt['why']})" if attempt.get("why") else "")
        + ("; it may be billed" if attempt.get("may_be_billed") else "")
        for attempt in generation.attempts
    ]
    if generation.trace_id is not None:
        lines.append(f"  trace {generation.trace_id}")
    if generation.crashes:
        lost = "1 worker was" if generation.crashes == 1 else f"{generation.crashes} workers were"
        lines.append(f"  {lost} lost over it")
    return lines
