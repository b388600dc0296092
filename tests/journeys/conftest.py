"""A real database, a fake internet that counts what is paid, and workers that are processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cinelet.testing import FakeBackend
from tests.fake_providers import FakeInternet
from tests.jobs.conftest import copy_data, data_directory, processes_of, schema
from tests.jobs.shop import Shop, run_shop
from tests.journeys.farm import Farm

__all__ = ["copy_data", "data_directory", "processes_of", "schema"]


@pytest.fixture
def internet() -> Iterator[FakeInternet]:
    with FakeInternet() as internet:
        yield internet


@pytest.fixture
def with_farm(data_directory: Path, schema: str, tmp_path: Path) -> Callable[..., Any]:
    """Return what runs a coroutine with durable jobs and a farm that works on them; options: of the workers."""

    def run(
        work: Callable[[Shop, Farm], Awaitable[Any]], *, directory: Path = data_directory, port: int = 0, **options: Any
    ) -> Any:
        script = {
            "data_directory": str(directory),
            "schema": schema,
            "store": str(tmp_path / "store"),
            "port": port,
            "backend": "fal",
            "queues": {"remote": 8},
            **options,
        }

        async def farmed(shop: Shop) -> Any:
            with Farm(**script) as farm:
                return await work(shop, farm)

        return run_shop(farmed, make_backend=FakeBackend, data_directory=directory, schema=schema, folder=tmp_path)

    return run
