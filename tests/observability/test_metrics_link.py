"""A process is asked for its metrics over sockets that nobody else can reach."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable

from cinelet.observability import metrics_link
from cinelet.observability.metrics_link import MetricsLink, answer_questions


def run(work: Callable[[MetricsLink], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            link = MetricsLink()
            try:
                await work(link)
            finally:
                await link.aclose()

    asyncio.run(bounded())


def other_end(link: MetricsLink) -> int:
    """Return the descriptor as another process would have it."""
    descriptor = os.dup(link.other)
    link.given()
    return descriptor


def test_each_question_is_answered_anew():
    async def work(link):
        times = iter(range(1, 100))
        answer_questions(other_end(link), lambda _: b"answer %d" % next(times))
        assert [await link.text(b"p"), await link.text(b"p")] == [b"answer 1", b"answer 2"]

    run(work)


def test_two_formats_that_are_asked_for_at_once_are_not_mixed_up():
    async def work(link):
        answer_questions(other_end(link), lambda question: question * 200_000)
        found = await asyncio.gather(*(link.text(question) for question in (b"p", b"o", b"p")))
        assert found == [b"p" * 200_000, b"o" * 200_000, b"p" * 200_000]

    run(work)


def test_a_large_answer_arrives_whole():
    async def work(link):
        answer_questions(other_end(link), lambda _: b"x" * 5_000_000)
        assert await link.text(b"p") == b"x" * 5_000_000

    run(work)


def test_an_answer_that_comes_late_is_not_taken_for_the_next_one():
    async def work(link):
        may_answer, times = threading.Event(), iter(range(1, 100))

        def text(_: bytes) -> bytes:
            assert may_answer.wait(10)
            return b"answer %d" % next(times)

        answer_questions(other_end(link), text)
        assert await link.text(b"p") is None
        assert await link.text(b"p") is None
        may_answer.set()
        await asyncio.wait({link._readings[b"p"]._asking})
        assert await link.text(b"p") == b"answer 2"

    run(work)


def test_who_is_gone_does_not_answer():
    async def work(link):
        os.close(other_end(link))
        assert await link.text(b"p") is None

    run(work)


def test_an_absurd_length_is_no_answer(monkeypatch):
    monkeypatch.setattr(metrics_link, "MAX_ANSWER_BYTES", 10)

    async def work(link):
        answer_questions(other_end(link), lambda _: b"x" * 11)
        assert await link.text(b"p") is None

    run(work)


def test_nobody_answers_when_the_asker_has_left():
    async def work(link):
        answer_questions(other_end(link), lambda _: b"answer")
        assert await link.text(b"p") == b"answer"
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "metrics"]
        await link.aclose()
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()

    run(work)


def test_children_of_the_one_who_answers_do_not_inherit_the_end():
    async def work(link):
        descriptor = other_end(link)
        os.set_inheritable(descriptor, True)
        answer_questions(descriptor, lambda _: b"answer")
        assert not os.get_inheritable(descriptor)

    run(work)
