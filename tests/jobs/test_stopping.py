"""A worker that stops leaves nothing of the engine behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cinelet.jobs.engine import LedgersJobs
from tests.jobs.shop import PaidBackend, Shop


def test_a_stop_waits_for_jobs_that_the_engine_is_just_finishing(with_shop, monkeypatch: pytest.MonkeyPatch):
    finish, finished = LedgersJobs.finish_job, []

    async def slow(self: LedgersJobs, job: Any, *arguments: Any, **named: Any) -> None:
        await asyncio.sleep(0.5)
        await finish(self, job, *arguments, **named)
        finished.append(job.id)

    monkeypatch.setattr(LedgersJobs, "finish_job", slow)

    async def work(shop: Shop):
        async with shop.working():
            made = await shop.submit()
            await shop.until(made, lambda found: (found.handle or {}).get("id") is not None)
        return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("process job")]

    assert with_shop(work, make_backend=PaidBackend) == []
    assert len(finished) == 1
