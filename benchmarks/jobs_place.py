"""Where `jobs.py` measures: a private server in a temporary folder, cinelet and plain Procrastinate in it, and helpers.

Every process that is started here is ended here, by its number, whatever happens.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    import procrastinate
    from psycopg import AsyncConnection

    from cinelet.config import Config
    from cinelet.domain.request import VideoRequest
    from cinelet.jobs.database import Database

OURS, PLAIN = "cinelet", "plain"
MODEL = "hf:org/name:fal-ai"
CONCURRENCY = 10
"""Of a worker, where nothing else is said."""
STOP_SECONDS = 40


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. idle_seconds, step_seconds, kill_seconds: seconds; all others: how many."""

    accepted: int
    waiting: int
    jobs: int
    workers: Sequence[int]
    pickups: int
    idle_seconds: float
    generations: int
    pages: int
    watched: int
    steps: int
    step_seconds: float
    kills: int
    kill_seconds: float
    repeats: int


FULL = Scale(
    accepted=1000,
    waiting=8_500,
    jobs=1000,
    workers=(1, 2, 4),
    pickups=200,
    idle_seconds=20,
    generations=1_000_000,
    pages=400,
    watched=200,
    steps=50,
    step_seconds=0.2,
    kills=200,
    kill_seconds=270,
    repeats=3,
)
QUICK = replace(
    FULL,
    accepted=200,
    jobs=200,
    workers=(1, 2),
    pickups=40,
    idle_seconds=5,
    generations=100_000,
    pages=100,
    watched=40,
    steps=20,
    kills=12,
    repeats=1,
)


@contextmanager
def place() -> Iterator[Path]:
    """Give a folder for a data directory and all else; the server in it has ended and the folder is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="cinelet-benchmark-") as name:
        folder = Path(name)
        try:
            yield folder
        finally:
            for process in server_processes(folder):  # of a section that failed and has not left it
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def server_processes(folder: Path) -> list[psutil.Process]:
    """Return the processes of the server in a folder: they all work in its data folder."""
    at = str((folder / "database" / "postgres").resolve())
    return [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == at]


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """Return the CPU time that processes have taken."""
    seconds = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system
    return seconds


def sync_seconds() -> list[float]:
    """Return how long this disk takes to make a page durable, many times."""
    seconds = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(bytes(8192))
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - began)
    return seconds


def config(folder: Path) -> Config:
    """Return settings that depend on nothing of this machine; the server is the private one of the folder."""
    from cinelet.config import Config

    return Config(cinelet_data_dir=folder, database_url=None, cinelet_storage_url=None, hf_token=None)


def request(number: int, *, model: str = MODEL, seed: int | None = None) -> VideoRequest:
    """Return the request of a number; its prompt is told apart from all others."""
    from cinelet.domain.request import Task, VideoRequest

    prompt = f"a red circle moving left, number {number}"
    return VideoRequest(task=Task.TEXT_TO_VIDEO, prompt=prompt, model=model, seed=seed)


@dataclass(frozen=True, slots=True)
class Plain:
    """Procrastinate without cinelet: its task of no work, and its database."""

    app: procrastinate.App
    task: Any
    database: Database


@asynccontextmanager
async def plain(folder: Path, *, on_start: Callable[[int], object] | None = None) -> AsyncIterator[Plain]:
    """Open Procrastinate in a schema of its own of the same server, behind a pool like ours.

    on_start: is called with each job's number when its work begins.
    """
    import procrastinate

    from cinelet.jobs.database import Database
    from cinelet.jobs.migrations import known_migrations

    engine = [step for step in known_migrations() if step.name == "procrastinate"]
    async with await Database.open(None, data_directory=folder, schema="plain", migrations=engine) as database:
        connector = procrastinate.PsycopgConnector(
            conninfo=database.conninfo, min_size=1, max_size=10, configure=_at_once
        )
        app = procrastinate.App(connector=connector)

        @app.task(name="nothing")
        async def nothing(number: int) -> None:
            if on_start is not None:
                on_start(number)

        async with app.open_async():
            yield Plain(app, nothing, database)


async def _at_once(connection: AsyncConnection[Any]) -> None:
    """Let each statement be a transaction, as in our pool; as an argument of the pool it breaks the listener."""
    await connection.set_autocommit(True)


async def emptied(*databases: Database) -> None:
    """Remove every job, so that each run begins alike."""
    for database in databases:
        ours = "generations, " if database.schema != "plain" else ""
        async with database.connection() as connection:
            await connection.execute(f"TRUNCATE {ours}procrastinate_jobs CASCADE".encode())


async def value(database: Database, statement: str, values: Sequence[Any] = ()) -> Any:
    """Return the first column of a statement's first row."""
    async with database.connection() as connection:
        row = await (await connection.execute(statement.encode(), values)).fetchone()
    return row[0] if row else None


async def until(done: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
    """Ask again and again until it is done, or raise `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while not await done():  # noqa: ASYNC110  (what it waits for happens in other processes)
            await asyncio.sleep(0.25)


class Beside:
    """A process beside this one that speaks the protocol of `jobs_process.py`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def ready(self) -> None:
        """Wait until it has opened what it needs."""
        line = await self._stdout.readline()
        if line.strip() != b"ready":
            raise RuntimeError(f"A process did not get ready; it said {line!r}")

    def go(self) -> None:
        """Let it begin."""
        self._stdin.write(b"go\n")

    async def ended(self) -> Any:
        """Let it end, and return what it measured."""
        self._stdin.close()
        async with asyncio.timeout(STOP_SECONDS):
            told = await self._stdout.read()
            await self.process.wait()
        if self.process.returncode:
            raise RuntimeError(f"A process beside this one failed with status {self.process.returncode}")
        return json.loads(told)

    async def kill(self) -> None:
        """End it with SIGKILL, if it still runs."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    @property
    def _stdin(self) -> asyncio.StreamWriter:
        assert self.process.stdin is not None  # noqa: S101  (it has a pipe)
        return self.process.stdin

    @property
    def _stdout(self) -> asyncio.StreamReader:
        assert self.process.stdout is not None  # noqa: S101  (it has a pipe)
        return self.process.stdout


@asynccontextmanager
async def beside(role: str, folder: Path, **specification: Any) -> AsyncIterator[Beside]:
    """Start a process of a role, and end it in any case."""
    told = json.dumps({"role": role, "folder": str(folder), **specification})
    started = Beside(
        await asyncio.create_subprocess_exec(
            *(sys.executable, str(Path(__file__).with_name("jobs_process.py")), told),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(folder),
            limit=64 * 1024 * 1024,
        )
    )
    try:
        yield started
    finally:
        await started.kill()


def environment(folder: Path) -> Mapping[str, str]:
    """Return this process's environment without its settings; temporary files belong below the folder as well."""
    mine = {
        name: set_to for name, set_to in os.environ.items() if not name.startswith(("CINELET_", "HF_", "DATABASE_"))
    }
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    return {**mine, "CINELET_DATA_DIR": str(folder), "TMPDIR": str(temporary), "HF_HUB_OFFLINE": "1"}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which so large a share of the values is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
