from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
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

    def __init__(self, replies: Iterable[Reply], *, schedule: PollSchedule = EVEN, random: float = 0.5) -> None:
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


def test_the_first_poll_is_at_once(tmp_path: Path) -> None:
    asked = Poll([])
    assert asked.run(tmp_path) == "https://cdn.example/v.mp4"
    assert asked.clock.pauses_seconds == []


def test_the_interval_grows_to_its_maximum(tmp_path: Path) -> None:
    asked = Poll([RUNNING] * 14)
    asked.run(tmp_path)
    assert asked.clock.pauses_seconds[:4] == pytest.approx([1, 1.3, 1.69, 2.197])
    assert asked.clock.pauses_seconds[-1] == 15


@pytest.mark.parametrize(("random", "factor"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_each_interval_is_jittered(tmp_path: Path, random: float, factor: float) -> None:
    asked = Poll([RUNNING], schedule=PollSchedule(), random=random)
    asked.run(tmp_path)
    assert asked.clock.pauses_seconds == pytest.approx([factor])


@settings(deadline=None)  # the machine may be busy
@given(st.integers(0, 60), st.floats(0, 1))
def test_no_interval_is_below_or_above_its_bounds(count: int, random: float) -> None:
    schedule, seconds = PollSchedule(), PollSchedule().first_seconds
    for number in range(count):
        assert 0.8 <= schedule.jittered(seconds, random=lambda: random) <= 18
        seconds = schedule.after(seconds, failed=number % 3 == 0)


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_poll_does_not_abandon_the_job(tmp_path: Path, failure: str) -> None:
    asked = Poll([FAILURES[failure]] * 20)
    assert asked.run(tmp_path) == "https://cdn.example/v.mp4"
    assert asked.asked == 21


def test_after_a_failed_poll_the_interval_grows_faster(tmp_path: Path) -> None:
    asked = Poll([httpx2.Response(500), RUNNING])
    asked.run(tmp_path)
    assert asked.clock.pauses_seconds == pytest.approx([1, 1.3**3])


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 1),
        ({"retry-after": "600"}, 60),
        ({"ratelimit": "r=0;t=30"}, 30),
    ],
)
def test_the_host_says_when_to_come_back(tmp_path: Path, headers: dict[str, str], seconds: float) -> None:
    asked = Poll([httpx2.Response(429, headers=headers), httpx2.Response(200, json={}, headers=headers)])
    asked.run(tmp_path)
    assert asked.clock.pauses_seconds == [seconds, seconds]


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
