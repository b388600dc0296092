"""What a span says, what it does not, and what it goes on from."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from cinelet.domain.backend import Context
from cinelet.domain.errors import GenerationCancelledError, ProcessingError
from cinelet.domain.progress import Stage
from cinelet.observability import tracing
from cinelet.observability.redaction import private
from cinelet.observability.stages import stages_as_events, stages_as_spans
from tests.spans import Spans, context_of, facts_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"
WITHOUT_SDK = """
import sys
sys.modules["opentelemetry.sdk"] = None  # as where it is not installed
from cinelet.observability import tracing
with tracing.span("a") as outer:
    first = tracing.trace_id()
    assert len(first) == 32 and int(first, 16), first
    assert not outer.is_recording()
    given = tracing.traceparent()
    assert given.endswith("-00"), given
    with tracing.span("b"):
        assert tracing.trace_id() == first
with tracing.span("c", parent=given):
    assert tracing.trace_id() == first
with tracing.span("d"):
    assert tracing.trace_id() != first
assert tracing.trace_id() is None
print("well")
"""


def test_without_the_sdk_there_are_ids_all_the_same() -> None:
    told = subprocess.run([sys.executable, "-c", WITHOUT_SDK], capture_output=True, text=True, check=False)
    assert told.stdout == "well\n", told.stderr


def test_a_given_trace_is_gone_on_from(spans: Spans) -> None:
    with tracing.span("a", kind=SpanKind.SERVER, parent=GIVEN):
        assert tracing.trace_id() == TRACE
        text = tracing.traceparent()
    one = spans.one("a")
    assert one.parent is not None
    assert f"{one.parent.span_id:016x}" == SPAN
    assert text == f"00-{TRACE}-{context_of(one).span_id:016x}-01"
    assert one.kind is SpanKind.SERVER


@pytest.mark.parametrize(
    "broken", ["", "x", "00-0-0-01", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01", "é" * 99]
)
def test_what_is_no_trace_begins_a_new_one(spans: Spans, broken: str) -> None:
    with tracing.span("a", parent=broken, links=[broken]):
        assert tracing.trace_id() not in {None, TRACE}
    one = spans.one("a")
    assert (one.parent, one.links) == (None, ())


def test_facts_are_redacted_cut_and_without_queries(spans: Spans) -> None:
    with (
        private("a grey heron"),
        tracing.span(
            "a",
            prompt="a heron",
            note="of a grey heron with hf_abcdefghij",
            model="https://host.example/x?opaque=1#y",
            api_key="abc",
            long="x" * 5000,
            number=3,
            left_out=None,
        ),
    ):
        pass
    facts = facts_of(spans.one("a"))
    assert facts == {
        "cinelet.prompt": "<prompt: 7 characters>",
        "cinelet.note": "of <prompt> with ***",
        "cinelet.model": "https://host.example/x",
        "cinelet.api_key": "***",
        "cinelet.long": "x" * tracing.MAX_TEXT_CHARACTERS,
        "cinelet.number": 3,
    }


def test_our_errors_are_told_by_code_and_message(spans: Spans) -> None:
    error = ProcessingError("Cannot draw a grey heron from https://h.example/x?sig=abc", "denoising")
    with private("a grey heron"), pytest.raises(ProcessingError), tracing.span("a"):
        raise error
    one = spans.one("a")
    assert facts_of(one)["error.type"] == error.code
    assert one.status.status_code is StatusCode.ERROR
    assert one.status.description == "Cannot draw <prompt> from https://h.example/x"
    assert one.events == ()


def test_what_others_raise_is_told_by_its_kind_alone(spans: Spans) -> None:
    with pytest.raises(KeyError), tracing.span("a"):
        raise KeyError("a grey heron")
    one = spans.one("a")
    assert (facts_of(one)["error.type"], one.status.description) == ("KeyError", None)
    assert "heron" not in spans.text()


@pytest.mark.parametrize("stop", [GenerationCancelledError("stopped"), asyncio.CancelledError()])
def test_a_cancel_is_no_error(spans: Spans, stop: BaseException) -> None:
    with pytest.raises(type(stop)), tracing.span("a"):
        raise stop
    one = spans.one("a")
    assert one.status.status_code is StatusCode.UNSET
    assert facts_of(one) == {"cinelet.cancelled": True}


def test_stages_follow_each_other_inside_the_attempt_from_whatever_thread(spans: Spans, tmp_path: Path) -> None:
    heard: list[Stage] = []
    context = Context(tmp_path, on_progress=lambda progress: heard.append(progress.stage))

    def work(told: Context) -> None:
        told.share(0.0, 0.5).report(Stage.LOADING, 0.0)
        for step in (1, 2, 3):
            told.report(Stage.DENOISING, 0.2 * step, step=step, steps=3)
        told.report(Stage.DECODING, 0.9)

    with tracing.span("attempt"), stages_as_spans(context) as told:
        thread = threading.Thread(target=work, args=[told])
        thread.start()
        thread.join()
    attempt = spans.one("attempt")
    assert spans.children(attempt) == ["loading", "denoising", "decoding"]
    loading, denoising = spans.one("loading"), spans.one("denoising")
    assert facts_of(denoising)["cinelet.steps"] == 3
    assert loading.end_time is not None
    assert denoising.start_time is not None
    assert denoising.start_time >= loading.end_time
    assert heard == [Stage.LOADING, *[Stage.DENOISING] * 3, Stage.DECODING]


def test_the_stages_of_what_runs_elsewhere_are_events(spans: Spans, tmp_path: Path) -> None:
    with tracing.span("attempt"), stages_as_events(Context(tmp_path)) as told:
        for fraction in (0.1, 0.2):
            told.report(Stage.QUEUED, fraction)
        told.report(Stage.DOWNLOADING, 0.9)
    attempt = spans.one("attempt")
    assert [event.name for event in attempt.events] == ["stage queued", "stage downloading"]
    assert len(spans.all) == 1
