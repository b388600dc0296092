"""The sections `servers` and `abilities` of `gateway.py`: our application under uvicorn and under granian."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gateway_measure import downloaded, prepared, routes_of
from benchmarks.gateway_place import (
    FOLDER,
    OURS,
    Costs,
    Gateway,
    Scale,
    called,
    costs,
    create_request,
    free_port,
    model_of,
    serving,
    upstream,
)
from benchmarks.gateway_served import FAILURE, GRANIAN, SLOW_SECONDS, UVICORN, UVLOOP
from benchmarks.jobs_place import CONCURRENCY, beside, environment

if TYPE_CHECKING:
    from benchmarks.report import Row

SERVERS = (UVICORN, UVLOOP, GRANIAN) if importlib.util.find_spec("granian") else (UVICORN, UVLOOP)
CLIENTS = (1, 16)
STEP_SECONDS = 0.3
"""Between steps that are watched: fewer than the four a second that a worker writes."""
HEAD_BYTES = 2_000_000
_SETTLED_SECONDS = 1.0
_STOP_SECONDS = 40


@contextmanager
def served(server: str, data: Path) -> Iterator[Gateway]:
    """Run our application under a server."""
    data.mkdir(exist_ok=True)
    port = free_port()
    told = json.dumps({"server": server, "app": "cinelet", "host": "127.0.0.1", "port": port})
    command = [sys.executable, str(FOLDER / "gateway_served.py"), told]
    variables = {**environment(data), "CINELET_QUEUE_LENGTH": "10000000"}
    with serving(command, port, "/healthz", variables=variables, log=data / f"{server}.log") as (process, seconds):
        yield Gateway(OURS, port, process, seconds, data)


def run_by_servers(folder: Path, *, scale: Scale) -> list[Row]:
    """Ask the same of our application under each server, in turn."""
    runs: dict[tuple[str, str, int], list[Costs]] = {}
    downloads: dict[str, list[Row]] = {server: [] for server in SERVERS}
    with ExitStack() as stack:
        engine = stack.enter_context(upstream())
        ids = stack.enter_context(prepared(folder, engine=engine, scale=scale))
        opened = {server: stack.enter_context(served(server, folder / "data")) for server in SERVERS}
        routes = routes_of(opened[UVICORN], ids, engine=engine)
        large = {"method": "GET", "paths": [f"/v1/videos/{ids['large'][0]}/content"]}
        number = 0
        for server in SERVERS * scale.repeats:
            for route in ("create", "retrieve", "content"):
                for clients in CLIENTS:
                    number += 10 * scale.requests
                    specification = {**routes[route], "first": number}
                    called(specification, port=opened[server].port, clients=clients, count=2 * clients)
                    specification["first"] += 5 * scale.requests
                    found = costs(opened[server], specification, clients=clients, count=scale.requests)
                    runs.setdefault((route, server, clients), []).append(found)
            downloads[server].append(downloaded(opened[server], large, scale=scale))
    rows = [
        _row(route, clients, server, runs[route, server, clients])
        for route in ("create", "retrieve", "content")
        for clients in CLIENTS
        for server in SERVERS
    ]
    for server in SERVERS:
        best = min(downloads[server], key=lambda found: found["CPU s a GB"])
        rows.append(
            {
                **dict.fromkeys(rows[0], ""),
                "what": "51 MB",
                "clients": scale.downloads,
                "server": server,
                "CPU ms": best["CPU s a GB"] * 51,
                "notes": f"{best['MB a second']:.0f} MB a second, {best['growth MB']:.0f} MB growth",
            }
        )
    return rows + [_watched(server, folder / "watched", scale=scale) for server in SERVERS]


def _row(what: str, clients: int, server: str, runs: list[Costs]) -> Row:
    best = min(runs, key=lambda run: run.cpu_ms)
    return {
        "what": what,
        "clients": clients,
        "server": server,
        "CPU ms": best.cpu_ms,
        "p50 ms": best.p50_ms,
        "p99 ms": best.p99_ms,
        "a second": best.rate,
        "notes": ", ".join(f"{run.cpu_ms:.2f}" for run in runs),
    }


def _watched(server: str, data: Path, *, scale: Scale) -> Row:
    """Let many watch one job, step by step, to its end."""
    with served(server, data) as opened:
        request = create_request(model_of("small", opened, engine="http://127.0.0.1:9/v1"))
        video = opened.ask("POST", "/v1/videos", kind=request["kind"], body=request["body"])["id"]
        watching = {"method": "GET", "paths": [f"/v1/generations/{video}/events"]}

        async def watch() -> Row:
            whole = asyncio.create_task(
                asyncio.to_thread(called, watching, port=opened.port, clients=scale.watchers, count=scale.watchers)
            )
            await asyncio.sleep(_SETTLED_SECONDS)
            steps = {"steps": scale.watched_steps, "step_seconds": STEP_SECONDS}
            async with beside("worker", data, concurrency=CONCURRENCY, **steps) as worker:
                await worker.ready()
                worker.go()
                measured = await whole
                await worker.ended()
            return measured

        before = opened.cpu()[0]
        asyncio.run(watch())
        cpu = opened.cpu()[0] - before
        once = called({**watching, "keep": True}, port=opened.port, clients=1, count=1)
        events = once["replies"][0].count("event: ")
    return {
        "what": "events",
        "clients": scale.watchers,
        "server": server,
        "CPU ms": 1000 * cpu / (events * scale.watchers),
        "p50 ms": "",
        "p99 ms": "",
        "a second": "",
        "notes": f"each of {events} events to each watcher, with their connections",
    }


def able() -> list[Row]:
    """Try what a server must do for us."""
    found = {server: dict(_tried(server)) for server in SERVERS}
    return [{"ability": name, **{server: found[server][name] for server in SERVERS}} for name in found[SERVERS[0]]]


def _tried(server: str) -> Iterator[tuple[str, Any]]:
    with _probe(server, "probe", port=0) as (process, _, told):
        yield "tells the port that it found", told.isdigit()
    with _probe(server, "probe") as (process, port, _):
        yield "sends a range of a file", _get(port, "/file", Range="bytes=10-19")[0] == 206
        yield "hears that a reader of a stream has left", _hears_of_leaving(port)
        yield "refuses a head of 2 MB", _refuses_head(port)
        yield "answers what runs at SIGTERM", _drains(process, port)
    with _probe(server, "probe", host="0.0.0.0") as (_, port, _told):  # noqa: S104  (what it says of it is the question)
        facts = json.loads(_get(port, "/facts")[1])
        yield "says at which address a request came in", facts["server"] == ["127.0.0.1", port]
    with _probe(server, "failing") as (process, _, _told):
        errors = process.communicate(timeout=_STOP_SECONDS)
        yield "ends with an error where the application cannot start", FAILURE in "".join(errors) and process.returncode


@contextmanager
def _probe(
    server: str, app: str, *, host: str = "127.0.0.1", port: int | None = None
) -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    """Run an application that tells about its server; give its process, its port, and what was told of the port."""
    port = free_port() if port is None else port
    told = json.dumps({"server": server, "app": app, "host": host, "port": port})
    command = [sys.executable, str(FOLDER / "gateway_served.py"), told]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = "" if app == "failing" or process.stdout is None else process.stdout.readline()
            until = time.monotonic() + _STOP_SECONDS
            while app == "probe" and port and time.monotonic() < until:
                with suppress(OSError, http.client.HTTPException):
                    _get(port, "/facts")
                    break
                time.sleep(0.02)
            yield process, port, line.strip()
        finally:
            process.kill()


def _get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_STOP_SECONDS)
    try:
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def _hears_of_leaving(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_STOP_SECONDS)
    connection.request("GET", "/stream")
    reply = connection.getresponse()
    reply.read(10)
    reply.close()
    connection.close()
    time.sleep(_SETTLED_SECONDS)
    return bool(json.loads(_get(port, "/facts")[1])["hung_up"] == 1)


def _refuses_head(port: int) -> bool:
    try:
        return 400 <= _get(port, "/facts", **{"X-Large": "a" * HEAD_BYTES})[0] < 500
    except OSError:
        return True


def _drains(process: subprocess.Popen[str], port: int) -> bool:
    statuses: list[int] = []

    def ask() -> None:
        with suppress(OSError, http.client.HTTPException):
            statuses.append(_get(port, "/slow")[0])

    asking = [threading.Thread(target=ask) for _ in range(16)]
    for thread in asking:
        thread.start()
    time.sleep(SLOW_SECONDS / 2)
    process.send_signal(signal.SIGTERM)
    for thread in asking:
        thread.join()
    return statuses == [200] * len(asking)
