"""What `cinelet batch` does: the requests of a file, their generations, their files, and what is shown meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cinelet.cli.generate import name_of
from cinelet.cli.output import slug
from cinelet.domain.errors import CapacityError, CineletError, ValidationError

if TYPE_CHECKING:
    from cinelet.domain.request import VideoRequest
    from cinelet.jobs.durable import DurableJobs
    from cinelet.jobs.events import Event
    from cinelet.jobs.generation import Generation
    from cinelet.jobs.worker import Worker

OWNER = "batch"
LOOK_AGAIN_SECONDS = 2.0
"""How late a missed event is noticed."""


@dataclass(slots=True)
class Line:
    """One line of the file. error: why it makes no video."""

    number: int
    request: VideoRequest | None
    key: str
    error: str = ""
    generation_id: str | None = None
    saved: Path | None = None
    model: str = ""
    progress: float = 0.0

    @property
    def open(self) -> bool:
        """Whether something is still to come."""
        return not self.error and self.saved is None


@dataclass(slots=True)
class Batch:
    """The lines and where their videos go."""

    folder: Path
    lines: list[Line]
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def made(self) -> int:
        """How many videos are there."""
        return sum(line.saved is not None for line in self.lines)

    @property
    def failed(self) -> list[Line]:
        """The lines that make no video."""
        return [line for line in self.lines if line.error]


def read_lines(file: Path, *, folder: Path) -> Iterator[Line]:
    """Read the requests of a file; a line that is none has its error. folder: a part of each line's key."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else (error.strerror or str(error))
        raise ValidationError(f"The batch {name_of(file)} cannot be read: {why}", {"file": "Cannot be read"}) from error
    # Not `splitlines`: JSON may hold characters at which that parts lines, too.
    found = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not found:
        raise ValidationError(f"{name_of(file)} holds no request; write one JSON object a line", {"file": "Empty"})
    beside = Path() if str(file) == "-" else file.expanduser().parent
    for number, line in found:
        try:
            request, canonical = _request(line, beside=beside)
        except CineletError as error:
            yield Line(number, None, "", error=" ".join(str(error).split()))
            continue
        key = hashlib.sha256(f"{folder}\0{number}\0{canonical}".encode(errors="surrogatepass")).hexdigest()
        yield Line(number, request, f"batch-{key}")


def _request(line: str, *, beside: Path) -> tuple[VideoRequest, str]:
    """Return the request of a line, and the line in one spelling, with its image by content."""
    from cinelet.domain.request import Task, make_request
    from cinelet.door import read_image

    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"it is no JSON: {error}", {"line": "No JSON"}) from error
    if not isinstance(values, dict):
        raise ValidationError('it is no JSON object; write {"prompt": ...}', {"line": "No object"})
    values = {**values, "task": Task.TEXT_TO_VIDEO}
    if (image := values.get("image")) is not None:
        if not isinstance(image, str):
            raise ValidationError("image: write the path of a file", {"image": "No path"})
        values |= {"task": Task.IMAGE_TO_VIDEO, "image": read_image(_beside(beside, image))}
    request = make_request(**values)
    named = request.model_dump(mode="json", exclude={"image"}, exclude_defaults=True)
    if request.image is not None:
        named["image"] = hashlib.sha256(request.image).hexdigest()
    return request, json.dumps(named, sort_keys=True)


def _beside(folder: Path, image: str) -> Path:
    """Return the path of an image. A home that nobody has is left in it, and refused by whoever reads it."""
    with suppress(RuntimeError):
        return folder / Path(image).expanduser()
    return Path(image)


async def run(batch: Batch, jobs: DurableJobs, *, concurrency: int, view: View) -> bool:
    """Ask for every line and work until all have ended; tell whether it was interrupted."""
    lines: dict[str, Line] = {}

    def told(event: Event) -> None:
        line = lines.get(event.generation_id)
        if line is not None:
            line.progress = event.progress
            batch.changed.set()

    take_back = jobs.events.on_event(told)
    await jobs.events.start()
    worker = jobs.worker({"remote": concurrency, "local": 1})
    loop = asyncio.get_running_loop()
    interrupted = asyncio.Event()

    def interrupt() -> None:
        interrupted.set()
        batch.changed.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    working = asyncio.create_task(worker.run())
    asking = asyncio.create_task(_ask(batch, jobs, lines))
    try:
        with view:
            while not interrupted.is_set():
                batch.changed.clear()
                _raise_what_ended(working, asking)
                await _collect(batch, jobs, lines)
                view.show()
                if not any(line.open for line in batch.lines):
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                        await batch.changed.wait()
        return interrupted.is_set()
    finally:
        asking.cancel()
        await _stopped(worker, working)
        await asyncio.gather(asking, return_exceptions=True)
        take_back()


def _raise_what_ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        if task.done():
            task.result()


async def _stopped(worker: Worker, working: asyncio.Task[None]) -> None:
    worker.stop()
    await asyncio.gather(working, return_exceptions=True)


async def _ask(batch: Batch, jobs: DurableJobs, lines: dict[str, Line]) -> None:
    """Ask for every line; those that were asked for before are found again by their key."""
    for line in batch.lines:
        while line.request is not None and line.generation_id is None and line.open:
            try:
                inserted = await jobs.queue.submit(line.request, owner=OWNER, idempotency_key=line.key)
            except CapacityError:
                await asyncio.wait({asyncio.ensure_future(batch.changed.wait())}, timeout=LOOK_AGAIN_SECONDS)
            except CineletError as error:
                line.error = " ".join(str(error).split())
            else:
                line.generation_id, line.model = inserted.generation.id, inserted.generation.requested_model
                lines[inserted.generation.id] = line
        batch.changed.set()


async def _collect(batch: Batch, jobs: DurableJobs, lines: dict[str, Line]) -> None:
    """Save what is completed, and note what failed."""
    waiting = [generation_id for generation_id, line in lines.items() if line.open]
    for generation_id, generation in (await jobs.ledger.get_all(waiting)).items():
        if generation.state.final:
            await _end(batch, jobs, lines[generation_id], generation)


async def _end(batch: Batch, jobs: DurableJobs, line: Line, generation: Generation) -> None:
    if generation.result is None:
        why = generation.error["message"] if generation.error else f"it was {generation.state}"
        line.error = " ".join(f"{why} (cinelet jobs show {generation.id})".split())
        return
    suffix = Path(generation.result["blob"]).suffix
    request = line.request
    name = slug((request.prompt if request else None) or "video")
    target = batch.folder / f"{line.number:0{max(3, len(str(batch.lines[-1].number)))}}-{name}{suffix}"
    try:
        if not await asyncio.to_thread(_is_there, target, generation.result):
            await jobs.queue.save(generation, target)
    except CineletError as error:
        line.error = " ".join(str(error).split())
        return
    line.saved, line.model = target, generation.model or line.model


def _is_there(target: Path, result: dict[str, Any]) -> bool:
    """Tell whether an earlier run has saved this very video."""
    if not target.is_file() or target.stat().st_size != result["video_size"]:
        return False
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == str(result["sha256"])


class View:
    """One bar for the whole batch on a terminal, a line for each video elsewhere."""

    def __init__(self, batch: Batch, *, quiet: bool) -> None:
        self._batch = batch
        self._quiet = quiet
        self._told: set[int] = set()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> None:
        if self._quiet or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[now]}", markup=False))
        self._bar = Progress(*columns, TimeRemainingColumn(compact=True), console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=len(self._batch.lines), now="")
        self._bar.start()

    def __exit__(self, *exception: object) -> None:
        self.show()
        if self._bar is not None:
            self._bar.stop()

    def show(self) -> None:
        """Show how far it is."""
        for line in self._batch.lines:
            if not line.open and line.number not in self._told:
                self._told.add(line.number)
                self._tell(line)
        if self._bar is not None:
            running = [line for line in self._batch.lines if line.open and line.progress > 0]
            failed = len(self._batch.failed)
            now = f"{len(running)} running" + (f", {failed} failed" if failed else "")
            done = self._batch.made + failed + sum(line.progress for line in running)
            self._bar.update(self._task, completed=round(done, 1), now=now)

    def _tell(self, line: Line) -> None:
        printing = self._bar.console.print if self._bar is not None else None
        if line.error:
            text = f"error: line {line.number}: {line.error}"
        elif self._quiet:
            return
        else:
            text = f"line {line.number}: {line.saved} ({line.model})"
        if printing is not None:
            printing(text, markup=False, highlight=False, soft_wrap=True)
        else:
            typer.echo(text, err=True)

    def end(self, *, interrupted: bool, as_json: bool) -> None:
        """Say what became of it."""
        batch = self._batch
        left = sum(line.open for line in batch.lines)
        if as_json:
            lines = [
                {
                    "line": line.number,
                    "id": line.generation_id,
                    "path": None if line.saved is None else str(line.saved),
                    "error": line.error or None,
                }
                for line in batch.lines
            ]
            typer.echo(json.dumps({"made": batch.made, "failed": len(batch.failed), "left": left, "lines": lines}))
            return
        if self._quiet:
            return
        numbers = ", ".join(str(line.number) for line in batch.failed[:20])
        numbers += ", ..." if len(batch.failed) > 20 else ""
        failed = f", {len(batch.failed)} failed (lines {numbers})" if batch.failed else ""
        rest = f", {left} left: the same command goes on" if interrupted else ""
        typer.echo(f"{batch.made} made{failed}{rest}; in {batch.folder}")
