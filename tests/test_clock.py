from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from cinelet.clock import FakeClock, SystemClock, cancel_task
from cinelet.domain.backend import Context
from cinelet.domain.errors import DeadlineExceededError, GenerationCancelledError


def test_a_pause_lasts_as_long_as_asked() -> None:
    began = time.monotonic()
    SystemClock().pause(0.06)
    assert time.monotonic() - began >= 0.06


def test_a_cancel_from_another_thread_ends_a_pause(tmp_path: Path) -> None:
    context = Context(tmp_path)
    threading.Timer(0.05, context.cancel).start()
    with pytest.raises(GenerationCancelledError):
        SystemClock().pause(60, context=context)


def test_a_cancel_ends_an_awaited_pause(tmp_path: Path) -> None:
    context = Context(tmp_path)
    threading.Timer(0.05, context.cancel).start()
    with pytest.raises(GenerationCancelledError):
        asyncio.run(SystemClock().pause_async(60, context=context))


def test_a_pause_does_not_outlive_the_deadline(tmp_path: Path) -> None:
    context = Context(tmp_path, deadline_seconds=0.05)
    with pytest.raises(DeadlineExceededError):
        SystemClock().pause(60, context=context)


def test_a_fake_clock_moves_at_once_and_remembers(tmp_path: Path) -> None:
    clock = FakeClock()
    context = Context(tmp_path, deadline_seconds=10, monotonic=clock.monotonic)
    clock.pause(4, context=context)
    asyncio.run(clock.pause_async(4, context=context))
    assert (clock.monotonic(), clock.pauses_seconds) == (8, [4, 4])
    with pytest.raises(DeadlineExceededError):
        clock.pause(4, context=context)


def test_a_task_that_loses_a_cancel_is_cancelled_again() -> None:
    async def lossy() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    async def work() -> bool:
        task = asyncio.create_task(lossy())
        await asyncio.sleep(0)
        await cancel_task(task)
        return task.cancelled()

    assert asyncio.run(work())
