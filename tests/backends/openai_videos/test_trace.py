"""An engine hears of the trace: it is ours, and may go on with it."""

from __future__ import annotations

from pathlib import Path

from cinelet.observability import tracing
from tests.backends.openai_videos.fake_engine import FakeEngine
from tests.backends.openai_videos.generation import Run
from tests.spans import Spans, context_of, facts_of


def test_an_engine_is_told_the_trace_and_what_it_does_is_a_part_of_it(
    engine: FakeEngine, tmp_path: Path, spans: Spans
) -> None:
    with tracing.span("attempt") as attempt:
        Run(engine, tmp_path).run()
    trace = f"{attempt.get_span_context().trace_id:032x}"
    given = [asked.headers["traceparent"] for asked in engine.requests if not asked.path.endswith("/content")]
    assert {text.split("-")[1] for text in given} == {trace}
    assert spans.children(spans.one("attempt")) == ["submit", "poll", "download"]
    host = f"127.0.0.1:{engine.port}"
    assert facts_of(spans.one("submit"))["cinelet.host"] == host
    polling = spans.one("poll")
    assert facts_of(polling)["cinelet.polls"] == engine.count("GET") - 1
    assert facts_of(spans.one("download"))["cinelet.bytes"] > 0
    (posted,) = (asked for asked in engine.requests if asked.method == "POST")
    assert posted.headers["traceparent"] == f"00-{trace}-{context_of(spans.one('attempt')).span_id:016x}-01"
