"""`cinelet models pull`, `load`, `unload` and `loaded`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cinelet import assembly
from cinelet.backends.registry import BackendRegistry
from cinelet.config import Config
from cinelet.domain.amount import amount
from cinelet.domain.condition import Device
from cinelet.domain.errors import CapacityError
from cinelet.jobs.roster import Roster
from cinelet.jobs.worker import Worker
from tests.cli.conftest import Command
from tests.jobs.conftest import copy_data, processes_of
from tests.jobs.loading_backend import LoadingBackend

__all__ = ["copy_data", "processes_of"]
SECONDS = 30.0


@pytest.fixture
def own_database(
    bare: Path, copy_data: Callable[[Path], Path], processes_of: Callable[[Path], list[int]]
) -> Iterator[None]:
    data = copy_data(bare.parent / "data")
    yield
    assert processes_of(data / "database" / "postgres") == [], "the last command stops the server"


@pytest.fixture
def loads(cinelet: Command) -> Iterator[LoadingBackend]:  # noqa: ARG001  (its own patch is undone after this one)
    """Put a backend that loads behind every local model, of commands and of workers."""
    backend = LoadingBackend({"local:org/large": CapacityError("It needs 80 GB,\nand there are 2")})
    factories = dict.fromkeys(("embedded", "local"), lambda: backend)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "make_registry", lambda _config: BackendRegistry(factories, plugins=dict))
        yield backend


@contextmanager
def working() -> Iterator[Worker]:
    """A worker for local models, in a thread of its own."""
    begun: list[tuple[Worker, asyncio.AbstractEventLoop]] = []
    known = threading.Event()

    async def work() -> None:
        async with assembly.durable_jobs(Config()) as jobs:
            worker = jobs.worker({"local": 1})
            begun.append((worker, asyncio.get_running_loop()))
            running = asyncio.create_task(worker.run())
            while not await Roster(jobs.database).list():  # noqa: ASYNC110  (another task changes it)
                await asyncio.sleep(0.01)
            known.set()
            await running

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    assert known.wait(SECONDS)
    worker, loop = begun[0]
    yield worker
    loop.call_soon_threadsafe(worker.stop)
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_sizes_are_said_in_words() -> None:
    assert [amount(size) for size in (0, 8_100_000, 999_949_999, 999_950_000, 12e9)] == [
        "0.0 MB",
        "8.1 MB",
        "999.9 MB",
        "1.0 GB",
        "12.0 GB",
    ]


@pytest.mark.usefixtures("loads")
def test_a_pull_says_what_came_and_where_and_shows_its_bytes(cinelet: Command) -> None:
    done = cinelet("models", "pull", "local:org/name")
    assert (done.code, done.out) == (0, "local:org/name: 8.1 MB came, in models/org/name\n")
    assert "100% downloading" in done.err
    done = cinelet("models", "pull", "local:org/name", "--json")
    assert done.json == {"model": "local:org/name", "folder": "models/org/name", "bytes": 8_100_000}
    assert done.err == ""
    done = cinelet("models", "pull", "local:org/name", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_model_that_is_here_needs_no_pull_and_one_that_runs_elsewhere_has_none(
    bare: Path,  # noqa: ARG001  (its settings)
    capsys: pytest.CaptureFixture[str],
) -> None:
    from cinelet.cli.app import run

    assert run(["models", "pull", "embedded"]) == 0
    assert capsys.readouterr().out.startswith("embedded: nothing to do, all of it is here, in ")
    assert run(["models", "pull", "openai:x@https://host/v1"]) == 1
    assert "nothing is loaded for it" in capsys.readouterr().err


@pytest.mark.usefixtures("own_database")
def test_a_model_is_loaded_seen_and_unloaded_with_a_line_for_each_worker(
    cinelet: Command, loads: LoadingBackend
) -> None:
    with working() as worker:
        where = worker.name.rpartition(":")[0]
        done = cinelet("models", "load", "embedded")
        assert done.code == 0
        assert done.out.startswith(f"loaded on cpu ({where}) in ")
        assert done.out.endswith(" s, 8.1 MB\n")
        done = cinelet("models", "load", "embedded", "--no-wait")
        assert done.out.startswith("ord_")
        assert done.out.endswith(": 1 worker told\n")
        done = cinelet("models", "load", "embedded", "--json")
        assert (done.json["state"], done.json["workers"][0]["loaded"]["bytes"]) == ("done", 8_100_000)
        done = cinelet("models", "loaded")
        first, second, *_ = done.out.splitlines()
        assert first.startswith(f"{where}  cpu, process ")
        assert second == "  embedded  8.1 MB (estimated 8.0 MB), float32, no offload, cpu"
        (known,) = cinelet("models", "loaded", "--json").json
        assert known["models"][0]["placement"] == "float32, no offload"
        loads.device = Device("cuda:0", 80 * 10**9, 60 * 10**9, 5 * 10**9, 6 * 10**9)
        cinelet("models", "load", "embedded")
        told = cinelet("models", "loaded").out.splitlines()[0]
        assert f"{where}  cuda:0, 60.0 GB of 80.0 GB free, 6.0 GB reserved, 5.0 GB allocated, process " in told
        assert cinelet("models", "unload", "embedded").out == f"unloaded ({where})\n"
        assert cinelet("models", "unload", "embedded").out == f"was not loaded ({where})\n"
        assert "nothing is loaded" in cinelet("models", "loaded").out


@pytest.mark.usefixtures("own_database", "loads")
def test_a_load_that_fails_is_one_line_and_exit_code_1(cinelet: Command) -> None:
    with working() as worker:
        done = cinelet("models", "load", "local:org/large")
        assert (done.code, done.out) == (1, "")
        assert done.err.splitlines()[-1] == f"error: {worker.name.rpartition(':')[0]}: It needs 80 GB, and there are 2"


@pytest.mark.usefixtures("own_database", "loads")
def test_without_a_worker_it_says_how_to_start_one(cinelet: Command) -> None:
    done = cinelet("models", "load", "embedded")
    assert done.code == 1
    assert "start one with cinelet serve, or with cinelet worker" in done.err
    done = cinelet("models", "loaded")
    assert (done.code, done.out) == (0, "")
    assert "No worker for local models runs" in done.err
    assert cinelet("models", "load", "hf:org/name").code == 1
