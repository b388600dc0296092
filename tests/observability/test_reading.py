"""Nobody waits long for an answer, and nobody is asked twice at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from cinelet.observability.reading import Reading


class Asked:
    """Answers with how often it was asked, when it may."""

    def __init__(self) -> None:
        self.times = 0
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.times += 1
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return self.times


def run(work: Callable[[Asked], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await work(Asked())

    asyncio.run(bounded())


def test_who_does_not_answer_is_waited_for_a_little_and_asked_once():
    async def work(asked):
        reading = Reading(asked, expected=(), patience_seconds=0.05)
        began = time.monotonic()
        assert [await reading.now(), await reading.now()] == [None, None]
        assert time.monotonic() - began < 1
        assert asked.times == 1
        asked.may_answer.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await reading.now() == 2  # the late answer is old
        await reading.end()

    run(work)


def test_all_who_ask_at_once_get_one_answer():
    async def work(asked):
        reading = Reading(asked, expected=())
        asked.may_answer.set()
        assert await asyncio.gather(*(reading.now() for _ in range(5))) == [1] * 5

    run(work)


def test_an_answer_is_believed_for_a_while():
    async def work(asked):
        reading = Reading(asked, expected=(), fresh_seconds=60)
        asked.may_answer.set()
        assert [await reading.now(), await reading.now()] == [1, 1]

    run(work)


def test_a_failure_is_no_answer_and_is_not_believed():
    async def work(asked):
        reading = Reading(asked, expected=(OSError,), fresh_seconds=60)
        asked.may_answer.set()
        asked.error = OSError("gone")
        assert await reading.now() is None
        asked.error = None
        assert await reading.now() == 2

    run(work)


def test_what_nobody_expected_is_raised():
    async def work(asked):
        reading = Reading(asked, expected=(OSError,))
        asked.may_answer.set()
        asked.error = KeyError("a mistake of ours")
        with pytest.raises(KeyError):
            await reading.now()

    run(work)
