from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cinelet.clock import watched
from cinelet.domain.backend import Context, Handle
from cinelet.domain.errors import (
    DeadlineExceededError,
    GenerationCancelledError,
    HuggingFaceAPIError,
    ProcessingError,
)
from cinelet.transport import stopping
from cinelet.transport.stopping import cancelled_at_host


class Work:
    """Hangs, and knows whether it was told to stop."""

    def __init__(self) -> None:
        self.ended = False

    async def hang(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.ended = True


def test_work_returns_what_it_returns_and_raises_what_it_raises(tmp_path: Path) -> None:
    async def seven() -> int:
        return 7

    async def fails() -> int:
        raise ProcessingError("no", "denoising")

    assert asyncio.run(watched(seven(), context=Context(tmp_path))) == 7
    with pytest.raises(ProcessingError):
        asyncio.run(watched(fails(), context=Context(tmp_path)))


def test_a_cancel_from_another_thread_ends_the_work(tmp_path: Path) -> None:
    work, context = Work(), Context(tmp_path)
    threading.Timer(0.02, context.cancel).start()
    with pytest.raises(GenerationCancelledError):
        asyncio.run(watched(work.hang(), context=context))
    assert work.ended


def test_a_deadline_ends_the_work(tmp_path: Path) -> None:
    work = Work()
    with pytest.raises(DeadlineExceededError):
        asyncio.run(watched(work.hang(), context=Context(tmp_path, deadline_seconds=0.05)))
    assert work.ended


def test_cancelling_the_task_ends_the_work_before_it_returns(tmp_path: Path) -> None:
    work = Work()

    async def run() -> None:
        task = asyncio.ensure_future(watched(work.hang(), context=Context(tmp_path)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.ended

    asyncio.run(run())


def test_a_context_that_is_over_starts_nothing(tmp_path: Path) -> None:
    started = []

    async def start() -> None:
        started.append(True)

    context = Context(tmp_path)
    context.cancel()
    with pytest.raises(GenerationCancelledError):
        asyncio.run(watched(start(), context=context))
    assert started == []


class Host:
    """Is asked to cancel, and answers as it is told."""

    def __init__(self, answer: bool | Exception = True) -> None:
        self.answer = answer
        self.asked = 0

    async def cancel(self) -> bool:
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def _leave(host: Host, context: Context, error: BaseException) -> None:
    async with cancelled_at_host(host.cancel, context=context):
        raise error


STOPS = [GenerationCancelledError("cancelled"), DeadlineExceededError("over"), asyncio.CancelledError()]


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: type(stop).__name__)
def test_a_stop_cancels_the_job_at_its_host_and_keeps_that_it_is_over(tmp_path: Path, stop: BaseException) -> None:
    host, context = Host(), Context(tmp_path, handle={"id": "1"})
    with pytest.raises(type(stop)):
        asyncio.run(_leave(host, context, stop))
    assert host.asked == 1
    assert context.handle == {"id": "1", "ended": True}


def test_cancelling_the_task_cancels_the_context(tmp_path: Path) -> None:
    context = Context(tmp_path)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(_leave(Host(), context, asyncio.CancelledError()))
    assert context.cancelled


def test_a_failure_does_not_cancel(tmp_path: Path) -> None:
    host, context = Host(), Context(tmp_path, handle={"id": "1"})
    with pytest.raises(ProcessingError):
        asyncio.run(_leave(host, context, ProcessingError("no", "denoising")))
    assert host.asked == 0
    assert context.handle == {"id": "1"}


@pytest.mark.parametrize(
    "answer", [False, httpx2.ConnectError("no"), HuggingFaceAPIError("no"), TimeoutError()], ids=repr
)
def test_a_host_that_cannot_cancel_leaves_the_handle_and_the_error(tmp_path: Path, answer: bool | Exception) -> None:
    host, context = Host(answer), Context(tmp_path, handle={"id": "1"})
    with pytest.raises(GenerationCancelledError):
        asyncio.run(_leave(host, context, GenerationCancelledError("cancelled")))
    assert context.handle == {"id": "1"}


class Hangs(Host):
    async def cancel(self) -> bool:
        await asyncio.Event().wait()
        return True


def test_a_host_that_hangs_is_left_after_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "CANCEL_TIMEOUT_SECONDS", 0.05)
    with pytest.raises(GenerationCancelledError):
        asyncio.run(_leave(Hangs(), Context(tmp_path), GenerationCancelledError("cancelled")))


def test_a_host_that_hangs_is_left_within_a_second_of_the_deadline(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        asyncio.run(_leave(Hangs(), Context(tmp_path), DeadlineExceededError("over")))
    assert time.monotonic() - began < 1


def test_a_second_cancel_does_not_leave_the_job_behind(tmp_path: Path) -> None:
    saved: list[Handle | None] = []

    async def on_handle(handle: Handle | None) -> None:
        saved.append(handle)

    async def run() -> None:
        asking, answer = asyncio.Event(), asyncio.Event()

        async def cancel() -> bool:
            asking.set()
            await answer.wait()
            return True

        async def job() -> Any:
            async with cancelled_at_host(cancel, context=Context(tmp_path, handle={"id": "1"}, on_handle=on_handle)):
                await asyncio.Event().wait()

        task = asyncio.ensure_future(job())
        await asyncio.sleep(0)
        task.cancel()
        await asking.wait()
        task.cancel()
        await asyncio.sleep(0)
        answer.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert saved == [{"id": "1", "ended": True}]
