"""A worker that stops leaves nothing of the engine behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cinelet.jobs.engine import PatientConnector
from tests.jobs.shop import PaidBackend, Shop


def test_a_stop_waits_for_jobs_that_the_engine_is_just_finishing(with_shop, monkeypatch: pytest.MonkeyPatch):
    execute, finished = PatientConnector.execute_query_async, []

    async def slow(self: PatientConnector, query: Any, **arguments: Any) -> None:
        finishing = "finish_job" in query
        await asyncio.sleep(0.5 if finishing else 0)
        await execute(self, query, **arguments)
        if finishing:
            finished.append(arguments["job_id"])

    monkeypatch.setattr(PatientConnector, "execute_query_async", slow)

    async def work(shop: Shop):
        async with shop.working():
            made = await shop.submit()
            await shop.until(made, lambda found: (found.handle or {}).get("id") is not None)
        return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("process job")]

    assert with_shop(work, make_backend=PaidBackend) == []
    assert len(finished) == 1
