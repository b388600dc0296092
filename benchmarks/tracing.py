"""What traces and the log of accesses cost the HTTP service.

    python benchmarks/tracing.py [--quick] [--repeats 12]

Several services on one database, alike but for their variables, are asked for the same in turn. Spans go to a collector
on loopback, in this process, that takes them and does nothing. Prints a Markdown table and writes it with all numbers
to `benchmarks/results/`, stamped with machine and commit. Needs the extras `serve` and `tracing`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.gateway_place import Costs
    from benchmarks.report import Row

ALLOWED_PERCENT = 3.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. requests: in each run of each service."""

    requests: int
    clients: int
    repeats: int


FULL, QUICK = Scale(requests=2000, clients=16, repeats=8), Scale(requests=100, clients=16, repeats=3)


@contextmanager
def sink() -> Iterator[str]:
    """Give the address of a collector that takes everything."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Take what was sent."""
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for what is started meanwhile."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def create(scale: Scale) -> list[Row]:
    """Create videos: CPU of the service for each, with spans recorded and exported, and with each request logged.

    Medians of runs that were made in turn; "more us" compares those of the service's own CPU, and "% of the whole" is
    its share of what a create costs the service and PostgreSQL. "traces" is what is recorded by default, 20 a second of
    each method. The goal for it: at most 3 %.
    """
    from benchmarks.gateway_place import FULL as GATEWAY
    from benchmarks.gateway_place import OURS, called, costs, create_request, gateway, upstream
    from benchmarks.jobs_place import place

    with place() as folder, sink() as collector, upstream() as engine, ExitStack() as stack:
        exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector}
        every = {"OTEL_TRACES_SAMPLER": "parentbased_always_on"}
        tenth = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
        cases: dict[str, dict[str, str]] = {
            "off": {},
            "traces": exporting,
            "each request": {**exporting, **every},
            "one in ten": {**exporting, **tenth},
            "log": {"CINELET_LOG_LEVEL": "INFO"},
        }
        services = {}
        for name, values in cases.items():
            with variables(values):
                services[name] = stack.enter_context(gateway(OURS, folder, engine=engine, scale=GATEWAY))
        request, first = create_request(f"openai:small@{engine}"), 0
        runs: dict[str, list[Costs]] = {name: [] for name in cases}
        for turn in range(scale.repeats + 1):
            # Each goes first as often as any other: the table grows meanwhile.
            order = [*cases][turn % len(cases) :] + [*cases][: turn % len(cases)]
            for name in order:
                first += 2 * scale.requests
                told = {**request, "first": first}
                if turn == 0:
                    called(told, port=services[name].port, clients=scale.clients, count=scale.requests)
                    continue
                found = costs(services[name], told, clients=scale.clients, count=scale.requests)
                runs[name].append(found)
    return [_row(name, each, runs["off"]) for name, each in runs.items()]


def _row(name: str, runs: Sequence[Costs], off: Sequence[Costs]) -> Row:
    service, whole = ([run.cpu_ms for run in runs], [run.cpu_ms + run.database_ms for run in runs])
    more = statistics.median(service) - statistics.median([run.cpu_ms for run in off])
    percent = 100 * more / statistics.median([run.cpu_ms + run.database_ms for run in off])
    return {
        "service": name,
        "CPU ms": statistics.median(service),
        "least": min(service),
        "with PostgreSQL's": statistics.median(whole),
        "more us": 1000 * more,
        "% of the whole": percent,
        "within": percent <= ALLOWED_PERCENT if name == "traces" else "",
        "all runs": ", ".join(f"{one:.2f}" for one in service),
    }


def main() -> None:
    """Measure, and keep what was found."""
    from dataclasses import asdict, replace

    from benchmarks.report import publish

    parser = argparse.ArgumentParser(description="What traces cost.")
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    parser.add_argument("--repeats", type=int, help="of each measurement")
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    scale = replace(scale, repeats=options.repeats or scale.repeats)
    packages = ("cinelet", "fastapi", "opentelemetry-api", "opentelemetry-sdk", "uvicorn")
    publish("tracing", {"create": create}, scale, settings=asdict(scale), packages=packages)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
