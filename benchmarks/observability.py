"""What it costs to observe the service: CPU time of a create, with and without what counts it.

    python benchmarks/observability.py [--quick] [--repeats 5] [--only create counting scrape]

The services and the clients have processes of their own; everything lies in temporary folders. Prints Markdown tables
and writes them with all numbers to `benchmarks/results/`, stamped with machine and commit. Needs the extras `serve` and
`tracing`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.gateway_place import Costs, Gateway
    from benchmarks.report import Row

SERVED = Path(__file__).with_name("observability_served.py")
TRACES = "metrics and traces"
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "nothing": (),
    "nothing again": (),
    "metrics": ("metrics",),
    TRACES: ("metrics",),
}
"""What is on; traces are by a variable."""
ALLOWED_PERCENT = {"metrics": 2.0, TRACES: 5.0}
"""Of the CPU time of a create, at most."""
MODEL = "openai:small@http://127.0.0.1:9/v1"
"""It is only queued."""
CLIENTS = 4
SCRAPE_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. requests: in each run; repeats: runs of each variant, in turn; calls: that are counted."""

    requests: int
    repeats: int
    calls: int


FULL = Scale(requests=1000, repeats=7, calls=6000)
QUICK = Scale(requests=200, repeats=2, calls=900)


def requests() -> dict[str, Row]:
    """Return the creates that are measured: OpenAI's form, and our JSON."""
    from benchmarks.gateway_place import create_request

    body = json.dumps({"prompt": "a red circle moving left, number NUMBER", "model": MODEL, "duration": 2, "fps": 8})
    json_create = {"method": "POST", "paths": ["/v1/text-to-video"], "kind": "application/json", "body": body}
    return {"POST /v1/videos": create_request(MODEL), "POST /v1/text-to-video": json_create}


@contextmanager
def served(variant: str, folder: Path, *, collector: str) -> Iterator[Gateway]:
    """Serve a variant, on a database of its own. collector: the address that traces are sent to."""
    from benchmarks.gateway_place import Gateway, free_port, serving
    from benchmarks.jobs_place import environment

    port, data = free_port(), folder / variant / "data"
    data.mkdir(parents=True)
    variables = {**environment(data), "CINELET_QUEUE_LENGTH": "10000000", "PYTHONPATH": str(SERVED.parents[1])}
    if variant == TRACES:
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector
    command = [sys.executable, str(SERVED), str(port), *VARIANTS[variant]]
    with serving(command, port, "/healthz", variables=variables, log=folder / f"{variant}.log") as (process, seconds):
        yield Gateway(variant, port, process, seconds, data)


def create(scale: Scale) -> list[Row]:
    """Create videos with 4 clients, in services that observe nothing, or something; all run in turn.

    Traces go to a collector on loopback that takes them and does nothing. The goals: 2 % for metrics, 5 % for both.

    "CPU ms" is that of the service's own process for each request, in the run that took the least; "more" is in
    comparison to the service that observes nothing, and "nothing again" says how rough that is on this machine.
    `counting` measures the same without the rest of a request.
    """
    from benchmarks.gateway_place import called, costs
    from benchmarks.jobs_place import place
    from benchmarks.tracing import sink

    rows: list[Row] = []
    with place() as folder, sink() as collector, ExitStack() as stack:
        opened = {variant: stack.enter_context(served(variant, folder, collector=collector)) for variant in VARIANTS}
        number = 0
        for route, specification in requests().items():
            runs: dict[str, list[Costs]] = {variant: [] for variant in VARIANTS}
            for variant in VARIANTS:
                called({**specification, "first": 0}, port=opened[variant].port, clients=CLIENTS, count=100)
            for turn in range(scale.repeats):
                # Forwards and backwards, so that none is always the one after another.
                for variant in sorted(VARIANTS, reverse=bool(turn % 2)):
                    number += 10 * scale.requests
                    wanted = {**specification, "first": number}
                    runs[variant].append(costs(opened[variant], wanted, clients=CLIENTS, count=scale.requests))
            rows += [_row(route, variant, runs) for variant in VARIANTS]
    return rows


def _row(route: str, variant: str, runs: Mapping[str, list[Costs]]) -> Row:
    mine, plain = ([run.cpu_ms for run in runs[name]] for name in (variant, "nothing"))
    more = 100 * (min(mine) / min(plain) - 1)
    return {
        "route": route,
        "observes": variant,
        "CPU ms": min(mine),
        "more %": more,
        "within": more <= ALLOWED_PERCENT[variant] if variant in ALLOWED_PERCENT else "",
        "all runs": ", ".join(f"{run:.2f}" for run in mine),
    }


def counting(scale: Scale) -> list[Row]:
    """Create videos in one process, every second one counted: what the event loop's thread takes for each.

    They are a millisecond apart, so that a busy machine slows both alike. "again" is an uncounted one against another.
    """
    from benchmarks.jobs_place import place

    with place() as folder:
        plain, again, counted = asyncio.run(alternated(folder, count=scale.calls))
    percent = 100 * (counted / plain - 1)
    return [
        {
            "CPU us": 1e6 * plain,
            "again %": 100 * (again / plain - 1),
            "counted %": percent,
            "within": percent <= ALLOWED_PERCENT["metrics"],
        }
    ]


async def alternated(folder: Path, *, count: int) -> list[float]:
    """Return the median seconds of a create that is not counted, of another such, and of one that is."""
    import cinelet.api.app
    from cinelet.api.request_metrics import RequestMetrics
    from cinelet.config import Config

    vars(cinelet.api.app)["RequestMetrics"] = lambda app: app
    app = cinelet.api.app.make_app(Config(cinelet_data_dir=folder, cinelet_queue_length=10_000_000))
    variants: list[Callable[..., Any]] = [app, app, RequestMetrics(app)]
    took: list[list[float]] = [[] for _ in variants]
    async with app.router.lifespan_context(app):
        for number in range(count):
            body = json.dumps({"prompt": f"a red circle {number}", "model": MODEL, "duration": 2, "fps": 8}).encode()
            took[number % len(variants)].append(await asked(variants[number % len(variants)], body))
    return [statistics.median(each[len(each) // 10 :]) for each in took]


async def asked(app: Callable[..., Any], body: bytes) -> float:
    """Let an application answer a create, and return the CPU time of this thread."""
    headers = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body))}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/text-to-video",
        "raw_path": b"/v1/text-to-video",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 9000),
    }
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    began = time.thread_time()
    await app(scope, receive, send)
    took = time.thread_time() - began
    if statuses != [202]:
        raise RuntimeError(f"A create was answered with {statuses}")
    return took


def scrape(scale: Scale) -> list[Row]:
    """Write the metrics of a worker whose labels are all taken, 50 models with all stages, and put two such together.

    A worker does the first, the service the second. The goal: at most a hundredth of a processor, if asked every 15 s.
    """
    from cinelet.observability import exposition, metrics

    metrics.know(models=[f"hf:org/model-{n}:provider-{n % 20}" for n in range(50)])
    metrics.know(providers=[f"provider-{n}" for n in range(20)])
    for n in range(50):
        model, provider = f"hf:org/model-{n}:provider-{n % 20}", f"provider-{n % 20}"
        for stage in (
            "loading",
            "submitting",
            "denoising",
            "downloading",
            "decoding",
            "encoding",
            "probing",
            "storing",
        ):
            metrics.stage_took(model, stage, 1.0)
        for code in (None, "rate_limited", "model_host_failed", "deadline_exceeded"):
            metrics.attempted(model, provider, code)
    runs, together = [], b""
    for _ in range(scale.repeats):
        began = time.process_time()
        text = exposition.OPENMETRICS.write(exposition.ProcessMetrics("remote"))
        written_at = time.process_time()
        together = exposition.together([text, text.replace(b"remote", b"local")], exposition.OPENMETRICS)
        runs.append((written_at - began, time.process_time() - written_at))
    written, joined = (min(each) for each in zip(*runs, strict=True))
    share = (written + joined) / SCRAPE_SECONDS
    sizes = {"kB": len(together) / 1000}
    return [{"written CPU ms": 1000 * written, "put together CPU ms": 1000 * joined, **sizes, "within": share <= 0.01}]


SECTIONS: Mapping[str, Callable[[Scale], list[Row]]] = {"create": create, "counting": counting, "scrape": scrape}


def main() -> None:
    """Run the sections that were asked for."""
    from benchmarks.report import publish

    parser = argparse.ArgumentParser(description="What it costs to observe the service.")
    parser.add_argument("--quick", action="store_true", help="fewer requests and repeats")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--repeats", type=int, help="of each measurement")
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    scale = replace(scale, repeats=options.repeats or scale.repeats)
    sections = {name: SECTIONS[name] for name in options.only}
    packages = ("cinelet", "fastapi", "opentelemetry-sdk", "prometheus-client", "uvicorn")
    publish("observability", sections, scale, settings=asdict(scale), packages=packages)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
