"""The stages that a generation reports, as spans: loading, denoising, decoding, encoding, and whatever else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.context import get_current

from cinelet.domain.backend import Context
from cinelet.domain.progress import Progress
from cinelet.observability.tracing import Span, current, describe, start_span


@contextmanager
def stages_as_spans(context: Context) -> Iterator[Context]:
    """Give a context whose reports open a span for each stage, inside the span that is open here.

    A stage lasts until another one is reported; what runs in this process is told as it happens.
    """
    if not current().is_recording():
        yield context
        return
    stages = _Stages()
    try:
        yield context.observed(stages.heard)
    finally:
        stages.end()


@contextmanager
def stages_as_events(context: Context) -> Iterator[Context]:
    """Give a context whose reports become an event of the span that is open here, one for each stage.

    For what goes on elsewhere: when it was heard of is not when it began.
    """
    one, heard = current(), ""

    def hear(progress: Progress) -> None:
        nonlocal heard
        if progress.stage != heard:
            heard = progress.stage
            one.add_event(f"stage {heard.value}")

    yield context.observed(hear) if one.is_recording() else context


class _Stages:
    """Keeps the span of the stage that is reported now. Safe from any thread."""

    def __init__(self) -> None:
        self._within = get_current()
        self._lock = threading.Lock()
        self._stage = ""
        self._steps = 0
        self._open: Span | None = None

    def heard(self, progress: Progress) -> None:
        """Go on to another stage, where it is another."""
        with self._lock:
            if progress.stage != self._stage:
                self._end()
                self._stage = progress.stage
                self._open = start_span(progress.stage.value, within=self._within)
            self._steps = progress.steps

    def end(self) -> None:
        """End the last stage; reports that come later are of nothing."""
        with self._lock:
            self._end()
            self._within = get_current()

    def _end(self) -> None:
        if self._open is not None:
            describe(self._open, steps=self._steps or None)
            self._open.end()
            self._open = None
