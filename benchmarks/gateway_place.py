"""What `gateway.py` measures: the engine, the gateways in front of it, and the clients, each in processes of its own.

Every process that is started here is ended here, by its number, whatever happens.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.jobs_place import cpu_seconds, environment, percentile, server_processes

if TYPE_CHECKING:
    from benchmarks.report import Row

FOLDER = Path(__file__).parent
OURS, LITELLM, BARE = "cinelet", "litellm", "bare app"
SMALL_BYTES, LARGE_BYTES = 600_000, 51_000_000
START_SECONDS = 180
STOP_SECONDS = 40
LIMIT_SECONDS = 300
WORK_SECONDS = 120
_BOUNDARY = "gateway-benchmark"
_LITELLM_MAIN = "import sys; from litellm import run_server; sys.exit(run_server())"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. requests: of each route and number of clients; watched_steps: events of a watched job.

    litellm: the interpreter of an environment with LiteLLM's proxy, None to leave it out.
    """

    clients: Sequence[int]
    requests: int
    small_videos: int
    downloads: int
    watchers: int
    watched_steps: int
    settling_seconds: float
    repeats: int
    litellm: str | None = None


FULL = Scale(
    clients=(1, 16, 64),
    requests=400,
    small_videos=8,
    downloads=8,
    watchers=100,
    watched_steps=40,
    settling_seconds=3,
    repeats=3,
)
QUICK = replace(FULL, clients=(1, 16), requests=80, small_videos=2, watched_steps=10, settling_seconds=1, repeats=1)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that answers. data: our data directory, whose PostgreSQL is counted apart; None for the others."""

    name: str
    port: int
    process: psutil.Process
    started_in_seconds: float
    data: Path | None = None

    def processes(self) -> list[psutil.Process]:
        """Return its process and those below it, without PostgreSQL's."""
        databases = {process.pid for process in self.databases()}
        with suppress(psutil.NoSuchProcess):
            found = [self.process, *self.process.children(recursive=True)]
            return [process for process in found if process.pid not in databases]
        return []

    def databases(self) -> list[psutil.Process]:
        """Return PostgreSQL's processes."""
        return [] if self.data is None else server_processes(self.data)

    def cpu(self) -> tuple[float, float]:
        """Return the seconds of CPU time that it has taken, and PostgreSQL."""
        return cpu_seconds(self.processes()), cpu_seconds(self.databases())

    def ask(self, method: str, path: str, *, kind: str = "", body: str = "") -> Any:
        """Return the JSON of one reply."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body.encode() or None, {"Content-Type": kind} if kind else {})
            reply = connection.getresponse()
            text = reply.read().decode(errors="replace")
        finally:
            connection.close()
        if reply.status >= 300:
            raise RuntimeError(f"{self.name} answered {method} {path} with {reply.status}: {text[:500]}")
        return json.loads(text)


@contextmanager
def upstream() -> Iterator[str]:
    """Start the engine; give its address, with its /v1."""
    command = [sys.executable, str(FOLDER / "gateway_upstream.py")]
    sizes = json.dumps({"small": SMALL_BYTES, "large": LARGE_BYTES})
    with subprocess.Popen([*command, sizes], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(process.stdout.readline() if process.stdout else 0)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


@contextmanager
def gateway(name: str, folder: Path, *, engine: str, scale: Scale, workers: bool = False) -> Iterator[Gateway]:
    """Start a gateway, give it when its health page says 200, and end it. workers: beside ours."""
    port = free_port()
    data = None
    if name == OURS:
        data = folder / "data"
        data.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "cinelet", "serve", "--port", str(port)]
        command += [] if workers else ["--no-workers"]
        variables = {**environment(data), "CINELET_QUEUE_LENGTH": "10000000"}
    elif name == LITELLM:
        assert scale.litellm is not None  # noqa: S101  (whoever asks for it has it)
        settings = folder / "litellm.yaml"
        settings.write_text(litellm_settings(engine))
        command = [scale.litellm, "-c", _LITELLM_MAIN, "--config", str(settings)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        variables = {**environment(folder), **litellm_variables(engine)}
    else:
        command = [sys.executable, str(FOLDER / "gateway_bare.py"), str(port), engine]
        variables = dict(environment(folder))
    page = "/health/liveliness" if name == LITELLM else "/healthz"
    with serving(command, port, page, variables=variables, log=folder / f"{name}.log") as (process, seconds):
        yield Gateway(name, port, process, seconds, data)


def litellm_settings(engine: str) -> str:
    """Return LiteLLM's settings file, which is YAML, and so may be JSON."""
    parameters = {size: {"model": f"hosted_vllm/{size}", "api_base": engine, "api_key": "none"} for size in _SIZES}
    models = [{"model_name": size, "litellm_params": found} for size, found in parameters.items()]
    return json.dumps({"model_list": models})


def litellm_variables(engine: str) -> dict[str, str]:
    """Return what LiteLLM needs: no key, as nobody has one here; no look into the internet; where lists come from."""
    return {
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HOSTED_VLLM_API_BASE": engine,
        "LITELLM_LOG": "ERROR",
    }


_SIZES = ("small", "large")


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def serving(
    command: Sequence[str], port: int, page: str, *, variables: Mapping[str, str], log: Path
) -> Iterator[tuple[psutil.Process, float]]:
    """Run a server; give its process when a page of it says 200, and how long that took."""
    with log.open("ab") as written, ExitStack() as stack:
        began = time.perf_counter()
        process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=written, stderr=written, env=variables)
        )
        stack.callback(_end, process)
        while not _answers(port, page):
            if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise RuntimeError(f"{' '.join(command[:4])} does not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.01)
        yield psutil.Process(process.pid), time.perf_counter() - began


def _answers(port: int, page: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", page)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process in order, and end what is left of it and below it."""
    below = []
    with suppress(psutil.NoSuchProcess):
        below = psutil.Process(process.pid).children(recursive=True)
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
    for child in below:
        with suppress(psutil.NoSuchProcess):
            if "postgres" not in child.name():  # it is stopped by whoever leaves it last
                child.kill()


def model_of(size: str, gateway: Gateway, *, engine: str) -> str:
    """Return how a gateway calls a model of the engine."""
    return f"openai:{size}@{engine}" if gateway.name == OURS else size


def create_request(model: str) -> Row:
    """Return a create as OpenAI's client sends it: a form."""
    fields = {"prompt": "a red circle moving left, number NUMBER", "model": model, "seconds": "2", "size": "64x48"}
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in fields.items()
    ]
    kind = f"multipart/form-data; boundary={_BOUNDARY}"
    return {"method": "POST", "paths": ["/v1/videos"], "kind": kind, "body": "".join(parts) + f"--{_BOUNDARY}--\r\n"}


def made(gateway: Gateway, size: str, *, count: int, engine: str) -> list[str]:
    """Ask a gateway for videos, and return their ids when they are completed."""
    request = create_request(model_of(size, gateway, engine=engine))
    body = request["body"]
    ids = [
        gateway.ask("POST", "/v1/videos", kind=request["kind"], body=body.replace("NUMBER", f"{size} {number}"))["id"]
        for number in range(count)
    ]
    until = time.monotonic() + WORK_SECONDS
    for video in ids:
        while (found := gateway.ask("GET", f"/v1/videos/{video}"))["status"] != "completed":
            if found["status"] == "failed" or time.monotonic() > until:
                raise RuntimeError(f"{gateway.name} does not make its videos: {found}")
            time.sleep(0.1)
    return ids


def called(specification: Row, *, port: int, clients: int, count: int) -> Row:
    """Let clients send requests, and return what they measured."""
    told = {**specification, "port": port, "clients": clients, "count": count, "limit_seconds": LIMIT_SECONDS}
    command = [sys.executable, str(FOLDER / "gateway_client.py")]
    done = subprocess.run(
        command, input=json.dumps(told), capture_output=True, text=True, timeout=LIMIT_SECONDS + 30, check=False
    )
    if done.returncode:
        raise RuntimeError(f"The clients failed:\n{done.stderr[-2000:]}")
    measured: Row = json.loads(done.stdout)
    wrong = {status for status in measured["statuses"] if not 200 <= int(status) < 300}
    if wrong:
        raise RuntimeError(f"{specification['method']} {specification['paths'][0]} was answered with {wrong}")
    return measured


@dataclass(frozen=True, slots=True)
class Costs:
    """What requests cost: milliseconds of CPU time each, and how long they took."""

    cpu_ms: float
    database_ms: float
    p50_ms: float
    p99_ms: float
    rate: float


def costs(gateway: Gateway, specification: Row, *, clients: int, count: int) -> Costs:
    """Measure what requests cost a gateway."""
    before = gateway.cpu()
    measured = called(specification, port=gateway.port, clients=clients, count=count)
    cpu, database = (after - earlier for earlier, after in zip(before, gateway.cpu(), strict=True))
    each = measured["each"]
    return Costs(
        1000 * cpu / count,
        1000 * database / count,
        1000 * percentile(each, 0.5),
        1000 * percentile(each, 0.99),
        count / measured["seconds"],
    )


def resident_bytes(processes: Sequence[psutil.Process]) -> int:
    """Return the memory that processes have."""
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def own_bytes(processes: Sequence[psutil.Process]) -> int:
    """Return the memory that processes have, where what they share counts once; elsewhere than on Linux, all of it."""
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            found = process.memory_full_info()
            total += getattr(found, "pss", found.rss)
    return total


def installed_litellm(interpreter: str) -> str | None:
    """Return LiteLLM's version in the environment of an interpreter, or None where it is not there."""
    if not os.access(interpreter, os.X_OK):
        return None
    script = "from importlib.metadata import version; print(version('litellm'))"
    done = subprocess.run([interpreter, "-c", script], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
