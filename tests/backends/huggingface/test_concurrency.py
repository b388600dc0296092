"""Hundreds of generations in one event loop: no thread each, no waiting for each other, no loop that stands still."""

from __future__ import annotations

import asyncio
import threading

import pytest

from cinelet.backends.huggingface.body import json_body_with_picture, new_placeholder
from cinelet.clock import SystemClock
from cinelet.domain.request import Task
from cinelet.transport.client import Timeouts
from cinelet.transport.polling import PollSchedule
from tests.backends.huggingface.caller import OFFERS, Caller, LagMeter, video_request
from tests.fake_providers import FakeInternet

MANY = 30
PATIENT = Timeouts(connect_seconds=60, read_seconds=60, write_seconds=60)
"""The hosts share this machine with their clients."""


def test_many_at_once_cost_one_mapping_and_no_threads(caller: Caller, internet: FakeInternet) -> None:
    caller.settings = {
        "clock": SystemClock(),
        "schedule": PollSchedule(first_seconds=0.2, minimum_seconds=0.1),
        "timeouts": PATIENT,
    }
    internet.jobs_take(queued_polls=0, running_polls=0, seconds=0.3)

    async def all_of_them() -> tuple[int, float]:
        backend, most = caller.backend(), 0
        async with LagMeter() as meter:
            work = [
                asyncio.ensure_future(caller.generated(video_request("fal-ai", prompt=f"gull {n}"), backend=backend))
                for n in range(MANY)
            ]
            while not all(task.done() for task in work):
                most = max(most, threading.active_count())
                await asyncio.wait(work, timeout=0.01, return_when=asyncio.FIRST_COMPLETED)
        outcomes = await asyncio.gather(*work)
        assert all(outcome.made() for outcome in outcomes)
        await backend.aclose()
        return most, meter.worst_seconds

    before = threading.active_count()
    most, worst_seconds = asyncio.run(all_of_them())
    # The loop's own pool, for writing files to the disk, has at most 32.
    assert most - before <= 32
    assert [request.stage for request in internet.requests].count("mapping") == 1
    assert internet.posts == internet.paid() == MANY
    assert worst_seconds < 0.5


def test_a_picture_of_20_mb_does_not_hold_up_the_loop(caller: Caller, internet: FakeInternet) -> None:
    caller.settings = {"timeouts": PATIENT}
    large = b"\x89PNG\r\n\x1a\n" + bytes(20_000_000)

    async def with_meter() -> float:
        backend = caller.backend()
        async with LagMeter() as meter:
            request = video_request("fal-ai", Task.IMAGE_TO_VIDEO, image=large)
            (await caller.generated(request, backend=backend)).made()
        await backend.aclose()
        return meter.worst_seconds

    worst_seconds = asyncio.run(with_meter())
    (job,) = internet.jobs
    assert len(job.payload["image_url"]) > 26_000_000
    assert worst_seconds < 0.5


@pytest.mark.parametrize(("provider", "task"), OFFERS)
def test_generations_do_not_mix_up_their_videos(
    caller: Caller, internet: FakeInternet, provider: str, task: Task
) -> None:
    async def three() -> None:
        backend = caller.backend()
        requests = [video_request(provider, task, prompt=f"gull {n}", seed=n) for n in range(3)]
        outcomes = await asyncio.gather(*(caller.generated(request, backend=backend) for request in requests))
        made = {outcome.made().seed: outcome.made().request_id for outcome in outcomes}
        if provider != "novita":
            assert made == {_seed(job.payload): job.id for job in internet.jobs}
        assert {job.prompt for job in internet.jobs} == {request.prompt for request in requests}
        await backend.aclose()

    asyncio.run(three())


def test_a_backend_serves_one_event_loop_after_another(caller: Caller, internet: FakeInternet) -> None:
    backend = caller.backend()
    for _ in range(2):
        backend._transport = internet.transport()
        outcome = asyncio.run(caller.generated(video_request("fal-ai"), backend=backend))
        assert outcome.made().path.read_bytes() == internet.video


def test_a_body_with_a_picture_is_in_small_pieces() -> None:
    placeholder = new_placeholder()
    body = json_body_with_picture({"image": placeholder}, bytes(1_000_000), placeholder=placeholder, prefix="data:,")
    assert max(map(len, body.pieces)) <= 256 * 1024


def _seed(payload: dict[str, object]) -> object:
    inner = payload.get("input", payload)
    assert isinstance(inner, dict)
    return inner["seed"]
