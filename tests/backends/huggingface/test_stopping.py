"""A cancel or a deadline ends the wait, and the job at the provider where it can be cancelled there."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from cinelet.domain.errors import DeadlineExceededError, GenerationCancelledError, SubmissionUnknownError
from cinelet.domain.progress import Progress, Stage
from tests.backends.huggingface.caller import QUEUES, Caller, Outcome, video_request
from tests.fake_providers import KEYS, FakeInternet, Received

CANCELLABLE = ("fal-ai", "replicate")
CANCELS = {
    "fal-ai": "PUT /fal-ai/wan/requests/job-00000001/cancel",
    "replicate": "POST /v1/predictions/job-00000001/cancel",
}


def is_over(outcome: Outcome) -> bool:
    """Tell whether what was saved last says that the job is over."""
    saved = outcome.handles[-1]
    assert saved is not None
    return bool(saved.get("ended"))


@pytest.mark.parametrize("provider", QUEUES)
def test_an_endless_queue_ends_at_the_deadline(caller: Caller, internet: FakeInternet, provider: str) -> None:
    internet.jobs_take(queued_polls=math.inf)
    outcome = caller.generate(video_request(provider))
    assert isinstance(outcome.failed(), DeadlineExceededError)
    assert 600 <= caller.clock.monotonic() <= 601 + 15 * 1.2
    assert internet.cancelled == (1 if provider in CANCELLABLE else 0)
    # What cannot be cancelled may still be asked about.
    assert is_over(outcome) == (provider in CANCELLABLE)


def test_the_polls_of_an_endless_queue_become_rare(caller: Caller, internet: FakeInternet) -> None:
    internet.jobs_take(queued_polls=math.inf)
    caller.generate(video_request("fal-ai"))
    polls = [request for request in internet.requests if request.stage == "poll"]
    assert 55 <= len(polls) <= 85


@pytest.mark.parametrize("way", ["router", "key"])
@pytest.mark.parametrize("provider", CANCELLABLE)
def test_a_cancel_reaches_the_provider(caller: Caller, internet: FakeInternet, provider: str, way: str) -> None:
    internet.jobs_take(queued_polls=math.inf)
    caller.settings = {} if way == "router" else {"token": None, "provider_keys": {provider: KEYS[provider]}}

    def at_the_third_poll(context: Any, report: Progress) -> None:
        if report.stage is Stage.QUEUED and report.note.startswith("in the queue"):
            context.cancel()

    outcome = caller.generate(video_request(provider), on_progress=at_the_third_poll)
    assert isinstance(outcome.failed(), GenerationCancelledError)
    assert internet.cancelled == 1
    assert is_over(outcome)
    (sent,) = [request for request in internet.requests if request.stage == "cancel"]
    prefix = f"/{provider}" if way == "router" else ""
    assert f"{sent.method} {sent.path}" == CANCELS[provider].replace(" ", f" {prefix}", 1)


@pytest.mark.parametrize("provider", CANCELLABLE)
def test_a_cancelled_task_cancels_its_job(caller: Caller, internet: FakeInternet, provider: str) -> None:
    internet.jobs_take(queued_polls=math.inf)

    async def cancelled() -> Outcome:
        tasks: list[asyncio.Task[Any]] = []

        def in_the_queue(_context: Any, report: Progress) -> None:
            if report.note.startswith("in the queue"):
                tasks[0].cancel()

        return await caller.generated(video_request(provider), on_task=tasks.append, on_progress=in_the_queue)

    outcome = asyncio.run(cancelled())
    assert isinstance(outcome.error, asyncio.CancelledError)
    assert internet.cancelled == 1
    assert is_over(outcome)
    assert list(outcome.folder.iterdir()) == []


@pytest.mark.parametrize("provider", CANCELLABLE)
def test_a_cancel_while_the_request_is_under_way_cancels_the_job_that_it_becomes(
    caller: Caller, internet: FakeInternet, provider: str
) -> None:
    internet.jobs_take(queued_polls=math.inf)
    internet.fail("submit", seconds=0.3)

    async def cancelled() -> Outcome:
        tasks: list[asyncio.Task[Any]] = []
        work = asyncio.ensure_future(caller.generated(video_request(provider), on_task=tasks.append))
        await internet.until(lambda: internet.paid() == 1)
        tasks[0].cancel()
        return await work

    outcome = asyncio.run(cancelled())
    assert isinstance(outcome.error, asyncio.CancelledError)
    assert internet.paid() == internet.cancelled == 1
    assert is_over(outcome)


def test_a_cancel_of_a_held_request_leaves_it_in_doubt(caller: Caller, internet: FakeInternet) -> None:
    internet.fail("submit", "hang", accepted=True)

    async def cancelled() -> Outcome:
        tasks: list[asyncio.Task[Any]] = []
        work = asyncio.ensure_future(caller.generated(video_request("novita"), on_task=tasks.append))
        await internet.until(lambda: internet.paid() == 1)
        tasks[0].cancel()
        return await work

    outcome = asyncio.run(cancelled())
    assert isinstance(outcome.error, asyncio.CancelledError)
    assert outcome.handles[-1] is not None
    assert outcome.handles[-1]["submitting"] is True
    again = caller.generate(video_request("novita"), handle=outcome.handles[-1])
    assert isinstance(again.failed(), SubmissionUnknownError)
    assert internet.posts == 1


@pytest.mark.parametrize("status", [400, 404, 500, 401])
def test_a_provider_that_will_not_cancel_does_not_hide_the_stop(
    caller: Caller, internet: FakeInternet, status: int
) -> None:
    internet.jobs_take(queued_polls=math.inf)
    internet.fail("cancel", status=status, json={"status": "ALREADY_COMPLETED"})
    outcome = caller.generate(video_request("fal-ai"))
    assert isinstance(outcome.failed(), DeadlineExceededError)
    # 400 and 404: there is no such job any more.
    assert is_over(outcome) == (status in {400, 404})


def test_a_deadline_that_is_over_sends_nothing(caller: Caller, internet: FakeInternet) -> None:
    outcome = caller.generate(video_request("fal-ai"), deadline_seconds=0)
    assert isinstance(outcome.failed(), DeadlineExceededError)
    assert outcome.handles == []
    assert internet.requests == ()


def test_a_cancel_while_the_hub_is_asked_ends_the_wait(caller: Caller, internet: FakeInternet) -> None:
    internet.fail("mapping", "hang")

    async def cancelled() -> Outcome:
        asked, loop = asyncio.Event(), asyncio.get_running_loop()

        def on_request(_received: Received) -> None:
            loop.call_soon_threadsafe(asked.set)

        internet.on_request(on_request)
        tasks: list[asyncio.Task[Any]] = []
        work = asyncio.ensure_future(caller.generated(video_request("fal-ai"), on_task=tasks.append))
        await asked.wait()
        tasks[0].cancel()
        return await work

    assert isinstance(asyncio.run(cancelled()).error, asyncio.CancelledError)
    assert internet.posts == 0
