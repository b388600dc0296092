"""One trace from a client's request to the stored video, through the processes of a real service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.collector import Collector
from tests.journeys.service_process import ServiceProcess, environment_of, until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
PROMPT = "the grey heron of unit forty-two"
SHORT = {"prompt": PROMPT, "model": "slow:x", "duration": 1, "fps": 4}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture
def environment(tmp_path: Path, copy_data: Callable[[Path], Path]) -> dict[str, str]:
    told = {"CINELET_LOG_LEVEL": "INFO", "CINELET_LOG_FORMAT": "json", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    return {**environment_of(tmp_path, data=copy_data(tmp_path / "data")), **told}


def logged(service: ServiceProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.log.splitlines() if line.startswith("{")]


@pytest.mark.slow
def test_a_trace_leads_from_the_request_through_the_worker_to_the_store(
    environment: dict[str, str], collector: Collector
) -> None:
    with ServiceProcess({**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}) as service:
        reply = service.client.post("/v1/text-to-video", json=SHORT, headers={"prefer": "wait=50", **GIVEN})
        assert reply.json()["state"] == "completed", reply.text
        assert reply.json()["trace_id"] == TRACE
        service.terminate()
        lines = [line for line in logged(service) if line.get("trace_id") == TRACE]
        assert "Traceback" not in service.log
    by_name = {span.name: span for span in collector.spans if span.trace_id == TRACE}
    parents = {
        "POST /v1/text-to-video": SPAN,
        "queue": by_name["POST /v1/text-to-video"].span_id,
        "work": by_name["POST /v1/text-to-video"].span_id,
        "generate": by_name["work"].span_id,
        "attempt": by_name["generate"].span_id,
        "loading": by_name["attempt"].span_id,
        "denoising": by_name["attempt"].span_id,
        "encoding": by_name["attempt"].span_id,
        "probe": by_name["generate"].span_id,
        "store": by_name["work"].span_id,
    }
    assert {name: span.parent_id for name, span in by_name.items()} == parents
    assert len([span for span in collector.spans if span.trace_id == TRACE]) == len(parents)  # and nothing twice
    processes = {span.name: span.process for span in by_name.values()}
    assert {name for name, process in processes.items() if process == "serve"} == {"POST /v1/text-to-video"}
    assert set(processes.values()) == {"serve", "worker"}
    assert by_name["queue"].end <= by_name["work"].end
    assert by_name["denoising"].end - by_name["denoising"].start > 0.2e9
    assert PROMPT.encode() not in collector.raw
    assert {line["process"] for line in lines} == {"serve", "worker"}
    assert {line["message"] for line in lines} >= {"Answered", "A generation is asked for", "Generated a video"}
    assert PROMPT not in service.log


@pytest.mark.slow
def test_the_attempt_after_a_crash_is_in_the_same_trace_and_refers_to_the_lost_one(
    environment: dict[str, str], collector: Collector
) -> None:
    long = {**SHORT, "num_inference_steps": 100}
    with ServiceProcess({**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}) as service:
        name = service.client.post("/v1/text-to-video", json=long, headers=GIVEN).json()["id"]

        def now() -> dict[str, Any]:
            found: dict[str, Any] = service.client.get(f"/v1/generations/{name}").json()
            return found

        until(lambda: now()["stage"] == "denoising", what="the beginning")
        until(lambda: bool(collector.named("loading", TRACE)), what="the first spans of the worker")
        worker = service.worker("local")
        assert worker is not None
        worker.kill()
        until(lambda: now()["state"] == "completed", what="the second attempt")
        service.terminate()
    (work,) = collector.named("work", TRACE)  # what was lost has told nothing of its end
    assert (work.facts["cinelet.attempt"], work.facts["cinelet.crashes"]) == (2, 1)
    first, second = collector.named("loading", TRACE)
    assert first.pid != second.pid
    (asked,) = collector.named("POST /v1/text-to-video", TRACE)
    (lost,) = work.links
    assert (work.parent_id, lost != work.span_id) == (asked.span_id, True)
    assert len(collector.named("queue", TRACE)) == 1


@pytest.mark.slow
def test_a_collector_that_is_away_slows_nothing_and_fails_nothing(environment: dict[str, str]) -> None:
    with ServiceProcess({**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) as service:
        began = time.monotonic()
        replies = [service.client.post("/v1/text-to-video", json={**SHORT, "seed": n}) for n in range(50)]
        assert {reply.status_code for reply in replies} == {202}
        assert time.monotonic() - began < 20
        until(
            lambda: service.client.get(f"/v1/generations/{replies[0].json()['id']}").json()["state"] == "completed",
            what="the first video",
        )
        assert service.terminate() < 30
        assert "Traceback" not in service.log
    about = [line for line in logged(service) if line["logger"].startswith("opentelemetry")]
    assert {line["level"] for line in about} <= {"warning", "error"}
    assert len(about) < 50
