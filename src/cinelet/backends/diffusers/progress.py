"""Progress and cancellation, by the one thing that all pipelines share: the bar that they count their steps on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, Self

from cinelet.domain.progress import Stage

LOADED = 0.02
DENOISED = 0.9
DECODED = 0.95
"""Fractions of the whole at the ends of stages. Denoising is measured; loading and decoding report no steps."""


Observe = Callable[[Any], None]
"""Is called with the scheduler of each run, before its first step."""


def ignore(_: Any) -> None:
    """Observe nothing."""


def wait_for_nothing() -> None:
    """Stand for a device that has done at once what it is given."""


class Listener(Protocol):
    """As much of a context as a run needs."""

    def check(self) -> None:
        """Raise when it is time to stop."""

    def report(
        self, stage: Stage, fraction: float, *, step: int = 0, steps: int = 0, measured: bool = True, note: str = ""
    ) -> None:
        """Tell how far the run is."""


class StepReporter:
    """Makes the bars of a generation's runs, and keeps the time of its stages.

    A pipeline may open several bars in one run (those that work in chunks do); how many is not known beforehand, so the
    first one's fraction is the run's, and the later ones only count.
    """

    def __init__(self, context: Listener, *, runs: int) -> None:
        self.context = context
        self.runs = runs
        self.run = 0
        self.steps_done = 0
        self.denoising_seconds = 0.0
        self.decoding_seconds = 0.0
        self.observe: Observe = ignore
        self.settle: Callable[[], None] = wait_for_nothing
        """Waits until the device has done what it was given, which belongs to the stage that gave it."""
        self._bars = 0
        self._callback_bar: _Bar | None = None
        self._decoding = False
        self._mark = time.monotonic()

    @property
    def stage(self) -> str:
        """What the run is doing."""
        return "decoding" if self._decoding else "denoising"

    def begin_run(self, number: int) -> None:
        """Say that run `number`, from 0, begins."""
        self.run = number
        self._bars = 0
        self._callback_bar = None
        self._decoding = False
        self._mark = time.monotonic()
        self.context.check()

    def end_run(self) -> None:
        """Say that the run has returned its frames."""
        now = time.monotonic()
        self.decoding_seconds += now - self._mark
        self._mark = now
        self.context.check()

    def bar(self, iterable: Iterable[Any] | None = None, total: int | None = None) -> _Bar:
        """Stand in for `DiffusionPipeline.progress_bar`."""
        items = None if iterable is None else list(iterable)
        self._bars += 1
        self._decoding = False
        return _Bar(self, total if items is None else len(items), items, first=self._bars == 1)

    def on_step(self, pipeline: Any, _step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """Stand in for `callback_on_step_end`, where a pipeline counts on bars that are not its own."""
        bar = self._callback_bar = self._callback_bar or self.bar(total=pipeline.num_timesteps)
        bar.update()
        if bar.n == bar.total:
            bar.close()
        return tensors

    def step(self, done: int, total: int, *, first: bool) -> None:
        """Report a step of the open bar, or stop."""
        self.steps_done += 1
        self.context.check()
        within = done / total if first else 1.0
        fraction = LOADED + (DENOISED - LOADED) * (self.run + within) / self.runs
        note = f"run {self.run + 1} of {self.runs}" if self.runs > 1 else ""
        self.context.report(
            Stage.DENOISING,
            fraction,
            step=self.run * total + done,
            steps=self.runs * total,
            measured=first,
            note=note,
        )
        self.context.check()

    def finished_bar(self) -> None:
        """Report that denoising is over, for now: what follows is decoding."""
        self.settle()
        now = time.monotonic()
        self._decoding = True
        self.denoising_seconds += now - self._mark
        self._mark = now
        fraction = LOADED + (DENOISED - LOADED) * (self.run + 1) / self.runs
        if self.run + 1 == self.runs:
            self.context.report(Stage.DECODING, fraction, measured=False)


class _Bar:
    """As much of a tqdm bar as pipelines use."""

    def __init__(self, reporter: StepReporter, total: int | None, items: list[Any] | None, *, first: bool) -> None:
        self.reporter = reporter
        self.total = max(total or 1, 1)
        self.n = 0
        self._items = items
        self._first = first

    def __enter__(self) -> Self:
        self.reporter.context.check()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        for item in self._items or ():
            yield item
            self.update()
        self.close()

    def update(self, count: int = 1) -> None:
        """Count steps; raises when it is time to stop."""
        self.n = min(self.n + count, self.total)
        self.reporter.step(self.n, self.total, first=self._first)

    def close(self) -> None:
        """Count no more."""
        self.reporter.finished_bar()

    def set_description(self, *_: object, **__: object) -> None:
        """Accept a text that nobody sees."""

    set_postfix = set_postfix_str = set_description
