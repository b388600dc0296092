"""What is sent to a provider, and asked of it, is counted with what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from cinelet.clock import FakeClock
from cinelet.domain.backend import Context
from cinelet.domain.errors import CineletError
from cinelet.observability import metrics
from cinelet.transport.polling import PollSchedule, poll
from cinelet.transport.submission import submit, submit_to_file
from tests.observability.counted import Counted, counting, fresh_names

URL = "https://queue.counted.example/jobs"
MP4 = b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 100
Handler = Callable[[httpx2.Request], httpx2.Response]


@pytest.fixture(autouse=True)
def known():
    with fresh_names():
        metrics.know(providers=["fal-ai", "queue.counted.example"])
        yield


def refuse_connection(_: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("nobody is there")


def break_off(_: httpx2.Request) -> httpx2.Response:
    raise httpx2.ReadError("gone")


def answers(status: int) -> Handler:
    return lambda _: httpx2.Response(status, json={"id": "1"})


def sent(handler: Handler) -> Counted:
    async def send() -> None:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(handler)) as client:
            await submit(client, client.build_request("POST", URL), what="hf:org/model", provider="fal-ai")

    with counting() as counted, suppress(CineletError):
        asyncio.run(send())
    return counted


@pytest.mark.parametrize(
    ("handler", "outcome"),
    [
        (answers(200), "accepted"),
        (answers(429), "refused"),
        (answers(422), "refused"),
        (answers(404), "refused"),
        (answers(502), "unknown"),
        (break_off, "unknown"),
        (refuse_connection, "unsent"),
    ],
    ids=["200", "429", "422", "404", "502", "broken off", "no connection"],
)
def test_a_request_for_a_video_counts_once(handler: Handler, outcome: str) -> None:
    counted = sent(handler)
    assert counted.of("cinelet_provider_submits_total") == 1
    assert counted.of("cinelet_provider_submits_total", provider="fal-ai", outcome=outcome) == 1


async def a_video() -> AsyncIterator[bytes]:
    yield MP4


def test_an_endpoint_is_counted_by_its_host(tmp_path: Path) -> None:
    async def send() -> None:
        answer = httpx2.MockTransport(lambda _: httpx2.Response(200, content=a_video()))
        async with httpx2.AsyncClient(transport=answer) as client:
            await submit_to_file(
                client,
                client.build_request("POST", URL),
                tmp_path / "video.mp4",
                what="the endpoint",
                provider="endpoint",
                max_bytes=1000,
                context=Context(tmp_path),
                timeout_seconds=5,
            )

    with counting() as counted:
        asyncio.run(send())
    assert counted.of("cinelet_provider_submits_total", provider="queue.counted.example", outcome="accepted") == 1


def test_each_question_about_a_job_counts(tmp_path: Path) -> None:
    running, done = (httpx2.Response(200, json={"status": status}) for status in ("running", "done"))
    replies: Iterator[httpx2.Response | Exception] = iter(
        [running, httpx2.Response(503), httpx2.ConnectError("gone"), done]
    )

    async def fetch() -> httpx2.Response:
        reply = next(replies)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def ask() -> str:
        return await poll(
            fetch,
            lambda found: "done" if found["status"] == "done" else None,
            context=Context(tmp_path),
            clock=FakeClock(),
            what="hf:org/model",
            provider="fal-ai",
            schedule=PollSchedule(jitter=0),
            random=lambda: 0.5,
        )

    with counting() as counted:
        assert asyncio.run(ask()) == "done"
    outcomes = {
        outcome: counted.of("cinelet_provider_polls_total", provider="fal-ai", outcome=outcome)
        for outcome in ("answered", "refused", "failed")
    }
    assert outcomes == {"answered": 2, "refused": 1, "failed": 1}
