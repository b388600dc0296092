from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from cinelet.testing import FakeBackend
from tests.api.served import Served
from tests.jobs.conftest import copy_data, processes_of

__all__ = ["copy_data", "processes_of"]


@pytest.fixture(scope="module")
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture(scope="module")
def served(
    backend: FakeBackend,
    copy_data: Callable[[Path], Path],
    processes_of: Callable[[Path], list[int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    data = copy_data(tmp_path_factory.mktemp("served") / "data")
    with Served(data, make_backend=lambda: backend) as served:
        yield served
    assert processes_of(data / "database" / "postgres") == []


@pytest.fixture(scope="module")
def client(served: Served) -> httpx2.Client:
    return served.client
