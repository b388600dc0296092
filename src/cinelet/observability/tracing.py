"""Traces: what was done for a request, where and for how long, over all processes that had a part in it.

Nothing is recorded before a program sets up OpenTelemetry's SDK (`exporting`, or its own). The ids exist all the same,
so that the lines that several processes log about a request can be found together.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cinelet.domain.errors import CineletError, GenerationCancelledError
from cinelet.observability.redaction import redact, redact_value

__all__ = [
    "Span",
    "SpanKind",
    "blame",
    "blame_code",
    "carrier",
    "context_of",
    "current",
    "describe",
    "finished_span",
    "outside",
    "span",
    "span_unless_open",
    "start_span",
    "trace_id",
    "trace_id_of",
    "traceparent",
    "written",
]

MAX_TEXT_CHARACTERS = 256
TRACEPARENT = "traceparent"

_TRACER = trace.get_tracer("cinelet")
_W3C = TraceContextTextMapPropagator()
_EMPTY = Context()
_QUERY = re.compile(r"(https?://[^\s?#]+)[?#]\S*")
"""What may sign a link, or be a key of some host."""


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: str | None = None,
    links: Sequence[str | None] = (),
    **facts: Any,
) -> Iterator[Span]:
    """Make what happens inside a span, and an error that leaves it the span's.

    parent: a `traceparent` that it goes on from, instead of what surrounds it here. links: those of other spans. facts:
    as of `describe`.
    """
    around = context_of(parent) if parent is not None else None
    linked = [Link(context) for text in links if text and (context := _read(text)).is_valid] or None
    opened = _TRACER.start_span(name, around, kind, None, linked)
    if not opened.get_span_context().is_valid:
        opened = NonRecordingSpan(_new_context())
    if facts:
        describe(opened, **facts)
    token = attach(set_span_in_context(opened, around))
    try:
        yield opened
    except BaseException as error:
        blame(error, opened)
        raise
    finally:
        detach(token)
        opened.end()


@contextmanager
def outside() -> Iterator[Span]:
    """Leave the span that is open here; what happens inside is in none."""
    token = attach(_EMPTY)
    try:
        yield get_current_span()
    finally:
        detach(token)


@contextmanager
def span_unless_open(name: str, *, kind: SpanKind = SpanKind.INTERNAL) -> Iterator[Span]:
    """Give the span that is open here, or open one: for what is nearly all that its surroundings do."""
    opened = get_current_span()
    if opened.get_span_context().is_valid:
        yield opened
        return
    with span(name, kind=kind) as own:
        yield own


def start_span(name: str, *, within: Context, start: datetime | None = None, **facts: Any) -> Span:
    """Return a span that is ended by whoever asked, in whatever thread; within: what surrounds it."""
    begun = None if start is None else round(start.timestamp() * 1e9)
    opened = _TRACER.start_span(name, within, start_time=begun)
    describe(opened, **facts)
    return opened


def finished_span(name: str, *, parent: str | None, start: datetime, end: datetime, **facts: Any) -> None:
    """Record what has happened between two times."""
    opened = start_span(name, within=context_of(parent), start=start, **facts)
    opened.end(round(end.timestamp() * 1e9))


def describe(one: Span, **facts: Any) -> None:
    """Add facts to a span, each as `cinelet.NAME`; texts are redacted and cut, and None is left out."""
    if one.is_recording():
        one.set_attributes(
            {f"cinelet.{name}": _fact(name, value) for name, value in facts.items() if value is not None}
        )


def current() -> Span:
    """Return the span that is open here; one that records nothing where there is none."""
    return get_current_span()


def context_of(text: str | None) -> Context:
    """Return what a `traceparent` surrounds work with; nothing where it is none, or no valid one."""
    return _EMPTY if text is None else _W3C.extract({TRACEPARENT: text}, _EMPTY)


def written(one: Span) -> str | None:
    """Return a span as `traceparent`, in which it can go on in another process."""
    context = one.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"


def traceparent() -> str | None:
    """Return the span that is open here as `traceparent`; None where there is none."""
    return written(get_current_span())


def carrier() -> Mapping[str, str]:
    """Return the headers that hand the trace on to a host of ours."""
    text = traceparent()
    return {} if text is None else {TRACEPARENT: text}


def trace_id() -> str | None:
    """Return the id of the trace that is open here; None where there is none."""
    context = get_current_span().get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else None


def trace_id_of(text: str | None) -> str | None:
    """Return the id in a `traceparent` that was `written`."""
    return None if text is None else text.split("-")[1]


def _read(text: str) -> SpanContext:
    return get_current_span(context_of(text)).get_span_context()


def _new_context() -> SpanContext:
    """Return the beginning of a trace that nobody records: others are told so, and it is whole or absent."""
    return SpanContext(secrets.randbits(128) or 1, secrets.randbits(64) or 1, is_remote=False)


def blame(error: BaseException, one: Span) -> None:
    """Note the error that a span ends with: ours by its code and message, others by their kind.

    What they say may hold a prompt; of ours that is taken out where the prompt is `private`.
    """
    if not one.is_recording():
        return
    if isinstance(error, (asyncio.CancelledError, GenerationCancelledError)):
        one.set_attribute("cinelet.cancelled", value=True)
    elif isinstance(error, CineletError):
        blame_code(one, error.code, _QUERY.sub(r"\1", redact(str(error)))[:MAX_TEXT_CHARACTERS])
    elif isinstance(error, Exception):
        blame_code(one, type(error).__name__)


def blame_code(one: Span, code: str, why: str | None = None) -> None:
    """Note that a span ends with an error. why: without prompts and secrets."""
    one.set_attribute("error.type", code)
    one.set_status(Status(StatusCode.ERROR, why))


def _fact(name: str, value: Any) -> Any:
    safe = redact_value(value, key=name)
    if isinstance(safe, bool | int | float):
        return safe
    return _QUERY.sub(r"\1", str(safe))[:MAX_TEXT_CHARACTERS]
