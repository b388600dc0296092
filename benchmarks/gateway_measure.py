"""The sections `rates`, `memory` and `start` of `gateway.py`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gateway_place import (
    BARE,
    LARGE_BYTES,
    LITELLM,
    OURS,
    Costs,
    Gateway,
    Scale,
    called,
    costs,
    create_request,
    gateway,
    made,
    model_of,
    own_bytes,
    resident_bytes,
    upstream,
)

if TYPE_CHECKING:
    from benchmarks.report import Row

ALLOWED_CPU_MS: Mapping[str, float] = {"create": 2, "retrieve": 1}
ALLOWED_GROWTH_BYTES = 64_000_000
ALLOWED_START_SECONDS = 3
SAMPLE_SECONDS = 0.02
SLOW_ROUTES = ("list", "content")
"""Of which half as many requests tell as much."""
NEW, AGAIN, WORKERS = "new folder", "again", "again, with its workers"


def compared(scale: Scale) -> tuple[str, ...]:
    """Return the names of the gateways."""
    return (OURS, BARE, LITELLM) if scale.litellm else (OURS, BARE)


@contextmanager
def prepared(folder: Path, *, engine: str, scale: Scale) -> Iterator[Mapping[str, list[str]]]:
    """Let our own workers make the videos that are asked about afterwards; give their ids, by size."""
    with gateway(OURS, folder, engine=engine, scale=scale, workers=True) as ours:
        ids = {
            "small": made(ours, "small", count=scale.small_videos, engine=engine),
            "large": made(ours, "large", count=1, engine=engine),
        }
    yield ids


def routes_of(opened: Gateway, ids: Mapping[str, list[str]], *, engine: str) -> dict[str, Row]:
    """Return the requests that are compared."""
    # LiteLLM keeps no list: whose it is to ask for, it must be told.
    whose = "?custom_llm_provider=hosted_vllm" if opened.name == LITELLM else ""
    return {
        "create": create_request(model_of("small", opened, engine=engine)),
        "retrieve": {"method": "GET", "paths": [f"/v1/videos/{video}" for video in ids["small"]]},
        "list": {"method": "GET", "paths": [f"/v1/videos{whose}"]},
        "content": {"method": "GET", "paths": [f"/v1/videos/{video}/content" for video in ids["small"]]},
    }


def rated(folder: Path, *, scale: Scale) -> list[Row]:
    """Ask all gateways for the same, in turn."""
    rows: list[Row] = []
    with ExitStack() as stack:
        engine = stack.enter_context(upstream())
        ids = stack.enter_context(prepared(folder, engine=engine, scale=scale))
        names = compared(scale)
        opened = {name: stack.enter_context(gateway(name, folder, engine=engine, scale=scale)) for name in names}
        routes = {
            name: routes_of(
                found,
                ids if name == OURS else {"small": made(found, "small", count=scale.small_videos, engine=engine)},
                engine=engine,
            )
            for name, found in opened.items()
        }
        number = 0
        for route in routes[OURS]:
            for clients in scale.clients:
                count = max(clients, scale.requests // (2 if route in SLOW_ROUTES else 1))
                runs: dict[str, list[Costs]] = {name: [] for name in names}
                for name in names * scale.repeats:
                    number += 10 * count
                    specification = {**routes[name][route], "first": number}
                    called(specification, port=opened[name].port, clients=clients, count=count)
                    specification["first"] += 5 * count
                    runs[name].append(costs(opened[name], specification, clients=clients, count=count))
                rows += [_row(route, clients, name, runs[name]) for name in names]
    return rows


def _row(route: str, clients: int, name: str, runs: list[Costs]) -> Row:
    best = min(runs, key=lambda run: run.cpu_ms)
    allowed = ALLOWED_CPU_MS.get(route) if name == OURS else None
    return {
        "route": route,
        "clients": clients,
        "gateway": name,
        "CPU ms": best.cpu_ms,
        "PostgreSQL's": best.database_ms,
        "p50 ms": best.p50_ms,
        "p99 ms": best.p99_ms,
        "a second": best.rate,
        "within": "" if allowed is None else best.cpu_ms <= allowed,
        "all runs": ", ".join(f"{run.cpu_ms:.2f}" for run in runs),
    }


def grown(folder: Path, *, scale: Scale) -> list[Row]:
    """Fetch a large video through each gateway, several at once."""
    rows: list[Row] = []
    with upstream() as engine, prepared(folder, engine=engine, scale=scale) as ours:
        for name in compared(scale):
            with gateway(name, folder, engine=engine, scale=scale) as opened:
                ids = ours if name == OURS else {size: made(opened, size, count=1, engine=engine) for size in ours}
                small, large = (
                    {"method": "GET", "paths": [f"/v1/videos/{ids[size][0]}/content"]} for size in ("small", "large")
                )
                called(small, port=opened.port, clients=scale.downloads, count=2 * scale.downloads)
                rows.append(downloaded(opened, large, scale=scale))
    return rows


def downloaded(opened: Gateway, specification: Row, *, scale: Scale) -> Row:
    """Let clients fetch a large file at once, and return by how much the memory grows meanwhile."""
    before = resident_bytes(opened.processes())
    cpu_before = opened.cpu()[0]
    peak: list[int] = [before]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], resident_bytes(opened.processes()))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        measured = called(specification, port=opened.port, clients=scale.downloads, count=scale.downloads)
    finally:
        done.set()
        watching.join()
    size = scale.downloads * LARGE_BYTES
    if measured["bytes"] != size:
        raise RuntimeError(f"{opened.name} sent {measured['bytes']:,} bytes instead of {size:,}")
    growth = peak[0] - before
    return {
        "gateway": opened.name,
        "downloads": scale.downloads,
        "before MB": before / 1e6,
        "growth MB": growth / 1e6,
        "MB a second": size / 1e6 / measured["seconds"],
        "CPU s a GB": (opened.cpu()[0] - cpu_before) / size * 1e9,
        "within": growth <= ALLOWED_GROWTH_BYTES if opened.name == OURS else "",
    }


def started(folder: Path, *, scale: Scale) -> list[Row]:
    """Start each gateway several times, and look at the last one while nobody asks anything."""
    rows: list[Row] = []
    with upstream() as engine:
        for name, how in ((OURS, NEW), (OURS, AGAIN), (OURS, WORKERS), (BARE, ""), (LITELLM, "")):
            if name not in compared(scale):
                continue
            seconds: list[float] = []
            idle, databases = 0, 0
            for number in range(scale.repeats):
                place = folder / str(number) if how == NEW else folder
                place.mkdir(exist_ok=True)
                with gateway(name, place, engine=engine, scale=scale, workers=how == WORKERS) as opened:
                    seconds.append(opened.started_in_seconds)
                    time.sleep(scale.settling_seconds)
                    idle, databases = own_bytes(opened.processes()), own_bytes(opened.databases())
            rows.append(
                {
                    "gateway": f"{name}, {how}" if how else name,
                    "start s": min(seconds),
                    "idle MB": idle / 1e6,
                    "PostgreSQL's MB": databases / 1e6,
                    "within": min(seconds) <= ALLOWED_START_SECONDS if name == OURS else "",
                    "all starts": ", ".join(f"{found:.2f}" for found in seconds),
                }
            )
    return rows
