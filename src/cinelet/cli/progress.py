"""Shows how far a generation is: a bar on a terminal, lines elsewhere, nothing when told to be quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from cinelet.domain.progress import Progress, Stage

Listener = Callable[[Progress], None]


@contextmanager
def shown(*, quiet: bool, stream: TextIO | None = None) -> Iterator[Listener]:
    """Give what takes a generation's progress and shows it on `stream` (stderr if None); threads may call it."""
    target = sys.stderr if stream is None else stream
    if quiet:
        yield lambda _: None
    elif target.isatty():
        with _bar(target) as listener:
            yield listener
    else:
        yield Lines(target)


def details(progress: Progress, *, seconds_in_stage: float, steps_in_stage: int) -> str:
    """Return the step and the rate as text: "7/20 3.1 steps/s", or "12/512 MB 8.0 MB/s" while downloading."""
    if not progress.steps:
        return progress.note
    unit = 1_000_000 if progress.stage is Stage.DOWNLOADING else 1
    name = "MB" if progress.stage is Stage.DOWNLOADING else "frames" if progress.stage is Stage.ENCODING else "steps"
    text = f"{progress.step // unit}/{progress.steps // unit} {name}"
    if seconds_in_stage > 0 and steps_in_stage > 0:
        text += f" {steps_in_stage / unit / seconds_in_stage:.1f} {name}/s"
    return text if not progress.note else f"{text} {progress.note}"


class Lines:
    """Writes a line at each new stage, and one at each further tenth of the whole."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stage: Stage | None = None
        self._tenth = -1

    def __call__(self, progress: Progress) -> None:
        """Take one report."""
        tenth = int(progress.fraction * 10)
        if progress.stage is self._stage and tenth <= self._tenth:
            return
        self._stage, self._tenth = progress.stage, tenth
        step = f" {progress.step}/{progress.steps}" if progress.steps and progress.stage is Stage.DENOISING else ""
        print(f"{progress.fraction:4.0%} {progress.stage}{step}", file=self._stream, flush=True)


class _Rate:
    """Counts steps and seconds within a stage."""

    def __init__(self) -> None:
        self._stage: Stage | None = None
        self._began = (0.0, 0)

    def since_stage_began(self, progress: Progress) -> tuple[float, int]:
        now = time.monotonic()
        if progress.stage is not self._stage:
            self._stage, self._began = progress.stage, (now, progress.step)
        return now - self._began[0], progress.step - self._began[1]


@contextmanager
def _bar(stream: TextIO) -> Iterator[Listener]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description:<11}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[details]}", markup=False),
        TimeRemainingColumn(compact=True),
    )
    rate = _Rate()
    with RichProgress(*columns, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("starting", total=1.0, details="")

        def listener(progress: Progress) -> None:
            seconds, steps = rate.since_stage_began(progress)
            text = details(progress, seconds_in_stage=seconds, steps_in_stage=steps)
            bar.update(task, completed=progress.fraction, description=str(progress.stage), details=text)

        yield listener
