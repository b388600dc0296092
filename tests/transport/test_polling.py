from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinelet.clock import FakeClock
from cinelet.domain.backend import Context
from cinelet.domain.errors import (
    AuthenticationError,
    CineletError,
    DeadlineExceededError,
    GenerationCancelledError,
    HuggingFaceAPIError,
    ProcessingError,
)
from cinelet.transport import polling
from cinelet.transport.polling import PollSchedule, poll

EVEN = PollSchedule(jitter=0)
RUNNING = httpx2.Response(200, json={"status": "running"})
DONE = httpx2.Response(200, json={"status": "done", "url": "https://cdn.example/v.mp4"})

Reply = httpx2.Response | Exception


def url_when_done(found: dict[str, Any]) -> str | None:
    return found["url"] if found.get("status") == "done" else None


class Poll:
    """Polls a host that gives these replies, then `DONE`; keeps the clock and how often it was asked."""

    def __init__(
        self,
        replies: Iterable[Reply],
        *,
        schedule: PollSchedule = EVEN,
        random: float = 0.5,
        age_seconds: float | None = None,
    ) -> None:
        self.age_seconds = age_seconds
        self.replies = iter(replies)
        self.clock = FakeClock()
        self.schedule = schedule
        self.random = random
        self.asked = 0

    async def fetch(self) -> httpx2.Response:
        self.asked += 1
        reply = next(self.replies, DONE)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def run(
        self,
        folder: Path,
        *,
        deadline_seconds: float | None = None,
        read: Callable[[dict[str, Any]], str | None] = url_when_done,
    ) -> str:
        context = Context(folder, deadline_seconds=deadline_seconds, monotonic=self.clock.monotonic)
        work = poll(
            self.fetch,
            read,
            context=context,
            clock=self.clock,
            what="hf:org/model",
            provider="fal-ai",
            schedule=self.schedule,
            random=lambda: self.random,
            age_seconds=self.age_seconds,
        )
        return asyncio.run(work)


FAILURES: dict[str, Reply] = {
    **{str(status): httpx2.Response(status) for status in (204, 408, 425, 429, 500, 502, 503, 504, 520)},
    "silence": httpx2.ReadTimeout("no"),
    "no connection": httpx2.ConnectError("no"),
    "reset": httpx2.RemoteProtocolError("no"),
    "timeout": TimeoutError(),
    "page": httpx2.Response(200, text="<html>"),
    "list": httpx2.Response(200, text="[]"),
}


@pytest.mark.parametrize("age_seconds", [None, 2.0, 600.0])
def test_what_is_not_fresh_is_asked_about_at_once(tmp_path: Path, age_seconds: float | None) -> None:
    asked = Poll([], age_seconds=age_seconds)
    assert asked.run(tmp_path) == "https://cdn.example/v.mp4"
    assert asked.clock.pauses_seconds == []


def test_a_fresh_job_is_first_asked_about_when_it_may_be_done(tmp_path: Path) -> None:
    asked = Poll([RUNNING], age_seconds=0.5)
    asked.run(tmp_path)
    assert asked.clock.pauses_seconds == pytest.approx([1.5, 0.25])


@pytest.mark.parametrize(("age_seconds", "seconds"), [(2, 0.25), (10, 1.2), (60, 7.2), (125, 15), (3600, 15)])
def test_the_interval_is_a_share_of_the_jobs_age(tmp_path: Path, age_seconds: float, seconds: float) -> None:
    asked = Poll([RUNNING], age_seconds=age_seconds)
    asked.run(tmp_path)
    assert asked.clock.pauses_seconds == pytest.approx([seconds])


def test_the_end_of_a_job_is_noticed_late_by_a_seventh_of_it_at_most(tmp_path: Path) -> None:
    schedule = PollSchedule()
    for ended_seconds in (3, 4, 10, 40, 100):
        asked = Poll([RUNNING] * 1000, schedule=schedule, random=1.0, age_seconds=0)

        def url(_found: dict[str, Any], asked: Poll = asked, ended_seconds: int = ended_seconds) -> str | None:
            return "url" if asked.clock.now_seconds >= ended_seconds else None

        asked.run(tmp_path, read=url)
        assert asked.clock.now_seconds - ended_seconds <= max(ended_seconds / 7, 0.3)
        assert asked.asked < 40


@pytest.mark.parametrize(("random", "factor"), [(0.0, 0.9), (0.5, 1.0), (1.0, 1.1)])
def test_each_interval_is_jittered(tmp_path: Path, random: float, factor: float) -> None:
    asked = Poll([RUNNING], schedule=PollSchedule(), random=random, age_seconds=10)
    asked.run(tmp_path)
    assert asked.clock.pauses_seconds == pytest.approx([1.2 * factor])


@given(st.integers(0, 10_000), st.floats(0, 1e9), st.floats(0, 1))
def test_no_interval_is_below_or_above_its_bounds(failures: int, age_seconds: float, random: float) -> None:
    schedule = PollSchedule()
    seconds = schedule.jittered(schedule.after(age_seconds, failures=failures), random=lambda: random)
    assert (0.9 if failures else 0.225) <= seconds <= 16.5


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_poll_does_not_abandon_the_job(tmp_path: Path, failure: str) -> None:
    asked = Poll([FAILURES[failure]] * 20)
    assert asked.run(tmp_path) == "https://cdn.example/v.mp4"
    assert asked.asked == 21


def test_each_failed_poll_in_a_row_doubles_the_wait_and_a_reply_ends_that(tmp_path: Path) -> None:
    failed = httpx2.Response(500)
    asked = Poll([failed, failed, failed, RUNNING, failed])
    asked.run(tmp_path)
    assert asked.clock.pauses_seconds == pytest.approx([1, 2, 4, 7 * 0.12, 1])


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "600"}, 60),
        ({"ratelimit": "r=0;t=30"}, 30),
    ],
)
def test_the_host_says_when_to_come_back(tmp_path: Path, headers: dict[str, str], seconds: float) -> None:
    asked = Poll([httpx2.Response(429, headers=headers), httpx2.Response(200, json={}, headers=headers)])
    asked.run(tmp_path)
    assert asked.clock.pauses_seconds == [seconds, seconds]


def test_a_host_that_says_at_once_is_not_asked_without_end(tmp_path: Path) -> None:
    now = {"retry-after": "0"}
    asked = Poll([httpx2.Response(429, headers=now), httpx2.Response(200, json={}, headers=now)])
    asked.run(tmp_path)
    assert asked.clock.pauses_seconds == [1, 0.25]


@pytest.mark.parametrize(
    ("status", "count", "kind"),
    [
        *((status, 5, HuggingFaceAPIError) for status in (404, 410, 400, 405, 422, 302)),
        *((status, 3, AuthenticationError) for status in (401, 403)),
    ],
)
def test_a_refusal_that_stays_ends_it_as_an_accepted_job(
    tmp_path: Path, status: int, count: int, kind: type[CineletError]
) -> None:
    asked = Poll([httpx2.Response(status)] * 20)
    with pytest.raises(HuggingFaceAPIError) as caught:
        asked.run(tmp_path)
    assert type(caught.value) is kind
    assert (caught.value.accepted, caught.value.status, asked.asked) == (True, status, count)


@pytest.mark.parametrize("status", [404, 401])
def test_a_refusal_that_passes_is_forgotten(tmp_path: Path, status: int) -> None:
    refused = httpx2.Response(status)
    asked = Poll([refused, refused, RUNNING, refused, refused, httpx2.Response(503), refused, refused])
    assert asked.run(tmp_path)


def test_an_endless_job_ends_at_the_deadline(tmp_path: Path) -> None:
    asked = Poll([RUNNING] * 10_000)
    with pytest.raises(DeadlineExceededError):
        asked.run(tmp_path, deadline_seconds=100)
    assert asked.clock.now_seconds <= 100 + 15


def test_a_job_that_the_reader_calls_failed_ends_it(tmp_path: Path) -> None:
    def read(_found: dict[str, Any]) -> str | None:
        raise ProcessingError("the host says no", "denoising")

    with pytest.raises(ProcessingError):
        Poll([RUNNING]).run(tmp_path, read=read)


@pytest.mark.parametrize("stop", ["cancel", "deadline"])
def test_a_poll_that_hangs_is_ended_by_a_cancel_and_by_the_deadline(tmp_path: Path, stop: str) -> None:
    context = Context(tmp_path, deadline_seconds=0.1 if stop == "deadline" else None)

    async def fetch() -> httpx2.Response:
        if stop == "cancel":
            context.cancel()
        await asyncio.Event().wait()
        raise AssertionError

    work = poll(
        fetch,
        url_when_done,
        context=context,
        clock=FakeClock(),
        what="m",
        provider="p",
        schedule=EVEN,
        random=lambda: 0.5,
    )
    with pytest.raises((GenerationCancelledError, DeadlineExceededError)):
        asyncio.run(work)


def test_a_poll_that_drips_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "FETCH_TIMEOUT_SECONDS", 0.02)
    asked = Poll([])

    async def fetch() -> httpx2.Response:
        asked.asked += 1
        if asked.asked == 1:
            await asyncio.Event().wait()
        return DONE

    asked.fetch = fetch  # type: ignore[method-assign]
    assert asked.run(tmp_path)
    assert asked.asked == 2
