"""A real PostgreSQL, one for a test process, and a schema of its own for each test."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from cinelet.jobs.database import Database
from cinelet.jobs.ledger import JobLedger
from cinelet.jobs.private_server import PrivateServer
from cinelet.testing import FakeBackend
from tests.jobs.shop import Shop, run_shop

WithLedger = Callable[[Callable[[JobLedger, Database], Awaitable[Any]]], Any]
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def processes_of() -> Callable[[Path], list[int]]:
    """Return what lists the processes that work in a folder: a server and its children."""

    def find(folder: Path) -> list[int]:
        at = str(folder.resolve())
        return [process.pid for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == at]

    return find


@pytest.fixture(scope="session")
def copy_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Return what makes a data directory with an empty database: a copy, as making one anew takes seconds."""
    base = tmp_path_factory.getbasetemp()
    template = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "database-template"
    with FileLock(template.with_suffix(".lock")):
        if not template.exists():
            server = PrivateServer(template.with_suffix(".part"))
            server.attach()
            server.leave()
            with (server.folder / "postgresql.auto.conf").open("a") as settings:
                # The tests' machine may crash without loss; waiting for its disk would be most of their time.
                settings.write("fsync = off\n")
            server.data_directory.rename(template)

    def copy(directory: Path) -> Path:
        shutil.copytree(template, directory)
        owner = (template / "database" / "postgres").stat()
        for path in (directory / "database" / "postgres", *(directory / "database" / "postgres").rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        return directory

    return copy


@pytest.fixture(scope="session")
def data_directory(
    tmp_path_factory: pytest.TempPathFactory,
    copy_data: Callable[[Path], Path],
    processes_of: Callable[[Path], list[int]],
) -> Iterator[Path]:
    """Return a data directory whose server runs for as long as this test process does."""
    server = PrivateServer(copy_data(tmp_path_factory.mktemp("database") / "data"))
    server.attach()
    yield server.data_directory
    server.leave()
    left = processes_of(server.folder)
    for pid in left:
        os.kill(pid, signal.SIGINT)  # a test that failed has not left it; it still shall not stay
    assert left == []


@pytest.fixture
def schema() -> str:
    return f"test_{next(_NUMBERS)}"


@pytest.fixture
def with_ledger(data_directory: Path, schema: str) -> WithLedger:
    """Return what runs a coroutine with an empty ledger and its database."""

    def run(work: Callable[[JobLedger, Database], Awaitable[Any]]) -> Any:
        async def opened() -> Any:
            async with await Database.open(None, data_directory=data_directory, schema=schema) as database:
                return await work(JobLedger(database), database)

        return asyncio.run(opened())

    return run


@pytest.fixture
def with_shop(data_directory: Path, schema: str, tmp_path: Path) -> Callable[..., Any]:
    """Return what runs a coroutine with durable jobs; options as of `run_shop`."""

    def run(
        work: Callable[[Shop], Awaitable[Any]], *, make_backend: Callable[[], Any] = FakeBackend, **options: Any
    ) -> Any:
        places = {"data_directory": data_directory, "schema": schema, "folder": tmp_path}
        return run_shop(work, make_backend=make_backend, **{**places, **options})

    return run
