"""A request is a part of its client's trace, or begins one; its reply, its errors and the log name it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from cinelet.jobs.ledger import JobLedger
from cinelet.jobs.queue import JobQueue
from cinelet.testing import FakeBackend
from tests.api.served import SHORT, Served, made
from tests.spans import Spans, context_of, facts_of, until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


@pytest.fixture(scope="module")
def served(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(copy_data(tmp_path_factory.mktemp("traced") / "data"), make_backend=FakeBackend) as served:
        yield served


@pytest.fixture
def client(served: Served) -> httpx2.Client:
    return served.client


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.name == "cinelet.api.request_trace"]


def test_a_video_is_made_in_the_trace_that_its_client_gave(client: httpx2.Client, spans: Spans) -> None:
    reply = client.post("/v1/text-to-video", json={"prompt": "a gull", **SHORT}, headers={"prefer": "wait=30", **GIVEN})
    assert reply.json()["state"] == "completed"
    assert reply.json()["trace_id"] == reply.headers["x-trace-id"] == TRACE
    answering = spans.one("POST /v1/text-to-video")
    spans.one("work")
    assert answering.parent is not None
    assert f"{answering.parent.span_id:016x}" == SPAN
    assert answering.kind is SpanKind.SERVER
    assert facts_of(answering) == {
        "http.request.method": "POST",
        "http.route": "/v1/text-to-video",
        "http.response.status_code": 200,
        "cinelet.generation": reply.json()["id"],
    }
    assert spans.children(answering) == ["queue", "work"]
    assert {"work", "generate", "probe", "store"} <= {span.name for span in spans.all}
    assert {context_of(span).trace_id for span in spans.all} == {int(TRACE, 16)}


def test_who_gives_no_trace_gets_a_new_one_for_each_request(client: httpx2.Client) -> None:
    ids = {client.get("/v1/models").headers["x-trace-id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in ids)


def test_a_connection_that_paused_while_a_body_came_carries_no_trace_on(client: httpx2.Client) -> None:
    long = client.post("/v1/text-to-video", json={"prompt": "a" * 300_000}).headers["x-trace-id"]
    assert client.get("/v1/models").headers["x-trace-id"] != long
    assert "x-trace-id" not in client.get("/healthz").headers


@pytest.mark.parametrize("text", ["", "00", f"00-{TRACE}-{SPAN}", "x" * 4000, "é", f"00-{'0' * 32}-{SPAN}-01"])
def test_what_is_no_trace_is_no_error(client: httpx2.Client, text: str) -> None:
    reply = client.get("/v1/models", headers={b"traceparent": text.encode()})
    assert reply.status_code == 200
    assert reply.headers["x-trace-id"] != TRACE


def test_an_error_names_its_request_and_its_trace(client: httpx2.Client, spans: Spans) -> None:
    for reply in (client.get("/v1/generations/gen_x", headers=GIVEN), client.get("/nowhere", headers=GIVEN)):
        assert reply.status_code == 404
        details = reply.json()["error"]["details"]
        assert details["trace_id"] == reply.headers["x-trace-id"] == TRACE
        assert details["request_id"] == reply.headers["x-request-id"]
    until(lambda: len(spans.all) == 2)
    # The client's mistake is no error of the service; and a path that is no route is in no name.
    assert {span.status.status_code for span in spans.all} == {StatusCode.UNSET}
    assert sorted(span.name for span in spans.all) == ["GET", "GET /v1/generations/{generation_id}"]


def test_a_failure_that_nobody_foresaw_is_an_error_of_the_span(
    client: httpx2.Client, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError("a grey heron")

    monkeypatch.setattr(JobQueue, "submit", failing)
    assert client.post("/v1/text-to-video", json={"prompt": "x"}).status_code == 500
    answering = spans.one("POST /v1/text-to-video")
    assert facts_of(answering)["error.type"] == "500"
    assert "heron" not in spans.text()


def test_a_failure_that_nobody_foresaw_is_told_by_its_route(
    client: httpx2.Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError("a grey heron")

    monkeypatch.setattr(JobLedger, "get", failing)
    with caplog.at_level(logging.INFO, "cinelet"):
        assert client.get("/v1/generations/a-grey-heron").status_code == 500
    failed = next(vars(record) for record in caplog.records if record.name == "cinelet.api.request_id")
    assert failed["route"] == "/v1/generations/{generation_id}"
    assert "heron" not in str([vars(record) for record in caplog.records if record.name.startswith("cinelet")])


def test_each_request_is_one_line_of_the_log_that_repeats_nothing_of_it(
    client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "cinelet"):
        reply = client.get("/v1/generations", params={"text": "a grey heron"}, headers=GIVEN)
        client.request("PURGE", "/a/grey/heron")
        until(lambda: len(lines(caplog)) == 2)
    first, second = lines(caplog)
    names = ("method", "route", "status", "request", "trace_id")
    assert [first[name] for name in names] == ["GET", "/v1/generations", 200, reply.headers["x-request-id"], TRACE]
    assert 0 < first["seconds"] < 30
    assert (second["method"], second["route"], second["status"]) == ("_OTHER", None, 404)
    assert "heron" not in str(lines(caplog))


def test_what_a_load_balancer_asks_is_in_no_trace_and_logged_for_debugging_alone(
    client: httpx2.Client, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "cinelet"):
        assert "x-trace-id" not in client.get("/healthz").headers
        client.get("/readyz")
    assert lines(caplog) == []
    assert [span.name for span in spans.all if span.kind is SpanKind.SERVER] == []
    with caplog.at_level(logging.DEBUG, "cinelet"):
        client.get("/healthz")
        until(lambda: any(line["route"] == "/healthz" for line in lines(caplog)))
    assert {line["levelname"] for line in lines(caplog)} == {"DEBUG"}
    assert "/healthz" in {line["route"] for line in lines(caplog)}


def test_every_line_about_a_generation_can_be_found_by_it(
    client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "cinelet"):
        done = made(client)
    about = [vars(record) for record in caplog.records if vars(record).get("generation") == done["id"]]
    messages = [line["message"] for line in about]
    assert messages[:3] == ["A generation is asked for", "Generating a video", "Generated a video"]
    assert {line["trace_id"] for line in about} == {done["trace_id"]}
