"""What is done at a provider is a part of the trace, and the provider hears nothing of it."""

from __future__ import annotations

from cinelet.observability import tracing
from tests.backends.huggingface.caller import PROMPT, Caller, video_request
from tests.fake_providers import HF_TOKEN, FakeInternet
from tests.spans import Spans, facts_of


def test_a_provider_is_seen_and_told_nothing(caller: Caller, internet: FakeInternet, spans: Spans) -> None:
    with tracing.span("attempt"):
        caller.generate(video_request()).made()
    assert spans.children(spans.one("attempt")) == ["submit", "poll", "poll", "download"]
    assert {facts_of(span)["cinelet.host"] for span in (spans.one("submit"), *spans.named("poll"))} == {"fal-ai"}
    # One span for all polls of a job, however many there are.
    assert max(facts_of(span)["cinelet.polls"] for span in spans.named("poll")) == 3
    assert len(internet.requests) > 5
    assert [
        asked for asked in internet.requests if {"traceparent", "tracestate", "baggage"} & asked.headers.keys()
    ] == []
    assert PROMPT not in spans.text()
    assert HF_TOKEN not in spans.text()
