"""Whether anything is exported is said by OpenTelemetry's variables, and nothing fails for want of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping

import pytest

from cinelet.config import Config

EXPORTING = """
import sys, time
from cinelet.config import Config
from cinelet.observability import exporting, logs, tracing
from opentelemetry import trace
logs.configure(log_format="json")
{before}
began = time.monotonic()
with exporting.exported(**Config().tracing, process="test"):
    with tracing.span("a"):
        pass
print(type(trace.get_tracer_provider()).__module__, round(time.monotonic() - began, 2))
"""
NOBODY = "http://127.0.0.1:9"


def ran(environment: Mapping[str, str], *, before: str = "") -> tuple[str, float, list[dict[str, str]]]:
    """Return whose provider there was, how long it took, and what was logged, of a new process."""
    told = subprocess.run(
        [sys.executable, "-c", EXPORTING.format(before=before)],
        env={"PATH": "", **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    provider, seconds = told.stdout.split()
    return provider, float(seconds), [json.loads(line) for line in told.stderr.splitlines() if line.startswith("{")]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY},
        {"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY},
    ],
    ids=str,
)
def test_nothing_is_exported_where_nobody_asked(variables: dict[str, str]) -> None:
    provider, seconds, logged = ran(variables)
    assert (provider, logged) == ("opentelemetry.trace", [])
    assert seconds < 1


def test_an_endpoint_that_is_away_costs_a_line_and_a_bounded_end() -> None:
    provider, seconds, logged = ran({"OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY})
    assert provider == "opentelemetry.sdk.trace"
    assert seconds < 5
    assert all(line["logger"].startswith("opentelemetry.") for line in logged)


def test_an_endpoint_that_never_answers_bounds_the_end_as_well() -> None:
    before = "import socket; held = socket.create_server(('127.0.0.1', 0)); import os;"
    before += "os.environ['OTEL_EXPORTER_OTLP_ENDPOINT'] = f'http://127.0.0.1:{held.getsockname()[1]}'"
    began = time.monotonic()
    provider, seconds, _ = ran({}, before=before)
    assert provider == "opentelemetry.sdk.trace"
    assert 1.5 < seconds < 5
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("variables", "before", "why"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY}, "sys.modules['opentelemetry.sdk'] = None", "pip install"),
        ({"OTEL_TRACES_EXPORTER": "carrier-pigeon"}, "", "no exporter carrier-pigeon is installed"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "", "otlp_proto_grpc"),
    ],
    ids=["no SDK", "an unknown exporter", "a protocol that is not installed"],
)
def test_what_is_in_the_way_is_a_warning_and_no_error(variables: dict[str, str], before: str, why: str) -> None:
    provider, _, logged = ran(variables, before=before)
    assert provider == "opentelemetry.trace"
    (line,) = logged
    assert line["level"] == "warning"
    assert why in json.dumps(line)


def test_a_program_that_has_a_provider_keeps_it() -> None:
    before = "class Mine(trace.NoOpTracerProvider): pass\ntrace.set_tracer_provider(Mine())"
    provider, _, logged = ran({"OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY}, before=before)
    assert (provider, logged) == ("__main__", [])


def test_the_library_sets_up_none_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", NOBODY)
    code = "from cinelet import VideoService; VideoService(); from opentelemetry import trace;"
    code += "print(type(trace.get_tracer_provider()).__name__)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "ProxyTracerProvider"


def test_the_console_is_the_stream_for_messages() -> None:
    told = subprocess.run(
        [sys.executable, "-c", EXPORTING.format(before="")],
        env={"PATH": "", "OTEL_TRACES_EXPORTER": "console", "OTEL_SERVICE_NAME": "studio"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"name": "a"' in told.stderr
    assert '"service.name": "studio"' in told.stderr
    assert '"cinelet.process": "test"' in told.stderr
    assert len(told.stdout.splitlines()) == 1


def test_an_endpoints_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://u:swordfish@collector.example:4318")
    shown = {setting.name: setting.value for setting in Config().settings()}
    assert shown["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://***@collector.example:4318"
