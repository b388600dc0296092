"""What a test has traced: by one provider, as a process has only one, that records while a test wants it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

SOON_SECONDS = 10.0


class Switch(Sampler):
    """Records everything while it is on, and nothing else."""

    on = False

    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE if self.on else Decision.DROP)

    def get_description(self) -> str:
        return "Switch"


class Spans:
    """The spans that have ended so far."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """Return a span of which there is one: soon, as a server's ends after its client has the reply."""
        until(lambda: len(self.named(name)) > 0)
        found = self.named(name)
        assert len(found) == 1, (name, [span.name for span in self.all])
        return found[0]

    def children(self, parent: ReadableSpan) -> list[str]:
        """Return the names of what is directly in a span, in the order in which it began."""
        inside = [span for span in self.all if span.parent and span.parent.span_id == context_of(parent).span_id]
        return [span.name for span in sorted(inside, key=lambda span: span.start_time or 0)]

    def text(self) -> str:
        """Return all that an exporter would send."""
        return "\n".join(span.to_json() for span in self.all)


def until(reached: Callable[[], bool]) -> None:
    """Wait a little for what another thread is just about to do."""
    end = time.monotonic() + SOON_SECONDS
    while not reached() and time.monotonic() < end:
        time.sleep(0.005)


def context_of(span: ReadableSpan) -> trace.SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def facts_of(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


@cache
def _provided() -> tuple[Switch, InMemorySpanExporter]:
    switch, exporter = Switch(), InMemorySpanExporter()
    provider = TracerProvider(sampler=switch, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    assert trace.get_tracer_provider() is provider
    return switch, exporter


@contextmanager
def recorded() -> Iterator[Spans]:
    """Record what is traced inside."""
    switch, exporter = _provided()
    exporter.clear()
    switch.on = True
    try:
        yield Spans(exporter)
    finally:
        switch.on = False
