"""What a failed attempt leaves behind, and what ends a chain of attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cinelet.clock import FakeClock
from cinelet.domain.backend import Context, GeneratedVideo, Handle
from cinelet.domain.errors import (
    DeadlineExceededError,
    GenerationCancelledError,
    HuggingFaceAPIError,
    ProcessingError,
    SubmissionUnknownError,
)
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task, VideoRequest
from cinelet.resilience import FallbackBackend
from cinelet.resilience.attempts import collecting
from tests.resilience.doubles import UNAVAILABLE, ScriptedBackend, as_named, context, request

FIRST, SECOND, THIRD = "hf:org/first:fal-ai", "hf:org/second:fal-ai", "hf:org/third:together"
FALLBACKS = {Task.TEXT_TO_VIDEO: [SECOND, THIRD], Task.IMAGE_TO_VIDEO: [THIRD]}


def fallback(backend: ScriptedBackend, **parts: Any) -> FallbackBackend:
    given = {"expand": as_named, "fallbacks": FALLBACKS, "clock": FakeClock(), **parts}
    return FallbackBackend(backend, **given)


def generate(backend: ScriptedBackend, folder: Path, asked: VideoRequest | None = None, **parts: Any) -> GeneratedVideo:
    return asyncio.run(fallback(backend, **parts).generate(asked or request(FIRST), context(folder)))


def test_files_of_a_failed_attempt_are_removed_and_no_others(tmp_path: Path) -> None:
    async def leave_files(_: VideoRequest, surroundings: Context) -> None:
        (surroundings.folder / "video.mp4.part").write_text("half")
        (surroundings.folder / "frames").mkdir()
        (surroundings.folder / "frames" / "0.png").write_text("frame")
        raise ProcessingError("It broke", "downloading")

    (tmp_path / "mine.txt").write_text("was here before")
    generate(ScriptedBackend(script={FIRST: leave_files}), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "video.mp4"]


def test_a_failure_minutes_after_acceptance_leaves_nothing_behind(tmp_path: Path) -> None:
    """What the first model's backend does at its attempt's deadline: it cancels its job; the chain forgets it."""
    clock, saved, cancelled_jobs = FakeClock(), list[Handle | None](), list[str]()

    async def never_ends(asked: VideoRequest, surroundings: Context) -> None:
        await surroundings.save_handle({"model": asked.model, "id": "job-1"})
        (surroundings.folder / "video.mp4.part").write_text("half")
        try:
            while True:
                await clock.pause_async(15, context=surroundings)
        except DeadlineExceededError:
            cancelled_jobs.append("job-1")
            raise

    async def finds_nothing_of_it(_: VideoRequest, surroundings: Context) -> None:
        assert surroundings.handle is None
        assert list(surroundings.folder.iterdir()) == []

    async def save(handle: Handle | None) -> None:
        saved.append(handle)

    backend = ScriptedBackend(script={FIRST: never_ends, SECOND: finds_nothing_of_it})
    surroundings = context(tmp_path, clock, deadline_seconds=3600, on_handle=save)
    policy = fallback(backend, clock=clock, attempt_seconds=600)
    video = asyncio.run(policy.generate(request(FIRST), surroundings))
    assert video.model == SECOND
    assert cancelled_jobs == ["job-1"]
    assert saved == [{"model": FIRST, "id": "job-1"}, {"model": FIRST, "id": "job-1", "aside": True}]
    assert video.attempts[0].seconds == 600
    assert (video.attempts[0].error or {})["code"] == "deadline_exceeded"
    assert video.attempts[0].telling


def test_a_failed_job_stays_known_until_the_next_model_has_sent_its_own(tmp_path: Path) -> None:
    """Whoever takes over a generation whose process was killed must not pay for the first model again."""
    saved: list[Handle | None] = []

    async def save(handle: Handle | None) -> None:
        saved.append(handle)

    async def fail(asked: VideoRequest, surroundings: Context) -> None:
        await surroundings.save_handle({"model": asked.model, "id": "job-1"})
        await surroundings.end_handle()
        raise HuggingFaceAPIError("The lens broke", accepted=True)

    async def be_refused(asked: VideoRequest, surroundings: Context) -> None:
        assert surroundings.handle is None
        await surroundings.save_handle({"model": asked.model, "submitting": True})
        await surroundings.save_handle(None)
        raise UNAVAILABLE

    async def take(asked: VideoRequest, surroundings: Context) -> None:
        await surroundings.save_handle({"model": asked.model, "id": "job-3"})

    backend = ScriptedBackend(script={FIRST: fail, SECOND: be_refused, THIRD: take})
    asyncio.run(fallback(backend).generate(request(FIRST), context(tmp_path, on_handle=save)))
    ended = {"model": FIRST, "id": "job-1", "ended": True}
    left = {**ended, "aside": True}
    second = {"model": SECOND, "submitting": True, "before": [FIRST]}
    assert saved[1:] == [ended, left, second, left, {"model": THIRD, "id": "job-3", "before": [FIRST]}]
    assert backend.calls == [FIRST, SECOND, THIRD]


def test_a_failed_job_stays_known_while_a_model_runs_on_this_machine(tmp_path: Path) -> None:
    """It is marked as left, so that a worker that is lost meanwhile was not lost while a provider worked."""
    saved: list[Handle | None] = []

    async def save(handle: Handle | None) -> None:
        saved.append(handle)

    async def fail(asked: VideoRequest, surroundings: Context) -> None:
        await surroundings.save_handle({"model": asked.model, "id": "job-1"})
        await surroundings.end_handle()
        raise HuggingFaceAPIError("The lens broke", accepted=True)

    async def know_nothing_of_it(_: VideoRequest, surroundings: Context) -> None:
        assert surroundings.handle is None

    here = {Task.TEXT_TO_VIDEO: ["embedded"]}
    policy = fallback(ScriptedBackend(script={FIRST: fail, "embedded": know_nothing_of_it}), fallbacks=here)
    assert asyncio.run(policy.generate(request(FIRST), context(tmp_path, on_handle=save))).model == "embedded"
    assert saved[-1] == {"model": FIRST, "id": "job-1", "ended": True, "aside": True}


def test_who_takes_over_while_a_model_runs_here_asks_the_failed_one_again_and_sends_nothing(tmp_path: Path) -> None:
    saved: list[Handle | None] = []
    submitted, asked_again = list[str](), list[object]()

    async def save(handle: Handle | None) -> None:
        saved.append(handle)

    async def fail(asked: VideoRequest, surroundings: Context) -> None:
        if surroundings.handle is None:
            submitted.append(str(asked.model))
            await surroundings.save_handle({"model": asked.model, "id": "job-1"})
        else:
            asked_again.append(surroundings.handle["id"])
        await surroundings.end_handle()
        raise HuggingFaceAPIError("The lens broke", accepted=True)

    async def be_killed(_: VideoRequest, __: Context) -> None:
        raise asyncio.CancelledError

    here = {Task.TEXT_TO_VIDEO: ["embedded"]}
    killed = fallback(ScriptedBackend(script={FIRST: fail, "embedded": be_killed}), fallbacks=here)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(killed.generate(request(FIRST), context(tmp_path, on_handle=save)))
    policy = fallback(ScriptedBackend(script={FIRST: fail}), fallbacks=here)
    video = asyncio.run(policy.generate(request(FIRST), context(tmp_path, on_handle=save, handle=saved[-1])))
    assert video.model == "embedded"
    assert (submitted, asked_again) == ([FIRST], ["job-1"])


def test_an_attempt_that_ends_while_its_request_is_being_sent_is_not_fallen_back_from(tmp_path: Path) -> None:
    clock = FakeClock()

    async def hang_in_the_submission(asked: VideoRequest, surroundings: Context) -> None:
        await surroundings.save_handle({"model": asked.model, "submitting": True})
        await clock.pause_async(1e6, context=surroundings)

    backend = ScriptedBackend(hang_in_the_submission)
    policy = fallback(backend, clock=clock, attempt_seconds=600)
    surroundings = context(tmp_path, clock, deadline_seconds=2e6)
    with pytest.raises(SubmissionUnknownError, match="may run and be billed"):
        asyncio.run(policy.generate(request(FIRST), surroundings))
    assert backend.calls == [FIRST]
    assert surroundings.handle is not None


@pytest.mark.parametrize(
    ("model", "seconds"),
    [
        (FIRST, 600),
        ("https://host.example/", 600),
        ("openai:wan@http://engine/v1", 600),
        ("org/name", 3600),  # on this machine: elsewhere it would have been expanded
        ("local:org/name", 3600),
        ("embedded", 3600),
        ("plugin:name", 3600),
    ],
)
def test_attempts_of_remote_models_have_a_deadline_of_their_own(model: str, seconds: float, tmp_path: Path) -> None:
    remaining = []

    async def note(_: VideoRequest, surroundings: Context) -> None:
        remaining.append(surroundings.remaining_seconds())

    policy = fallback(ScriptedBackend(note), attempt_seconds=600)
    asyncio.run(policy.generate(request(model), context(tmp_path, deadline_seconds=3600)))
    assert remaining == [seconds]


@pytest.mark.parametrize("working", [[FIRST, SECOND, THIRD], [SECOND, THIRD], [THIRD]], ids=len)
def test_the_callers_deadline_ends_the_chain_wherever_it_is(working: list[str], tmp_path: Path) -> None:
    clock = FakeClock()

    async def wait(_: VideoRequest, surroundings: Context) -> None:
        await clock.pause_async(1e6, context=surroundings)

    backend = ScriptedBackend(UNAVAILABLE, dict.fromkeys(working, wait))
    policy = fallback(backend, clock=clock, attempt_seconds=600)
    with collecting() as attempts, pytest.raises(DeadlineExceededError, match="deadline of 60 s"):
        asyncio.run(policy.generate(request(FIRST), context(tmp_path, clock, deadline_seconds=60)))
    assert backend.calls[-1] == working[0]
    # Those before it have failed; that the caller had no more time says nothing about this one.
    assert [attempt.telling for attempt in attempts] == [True] * (len(attempts) - 1) + [False]


def test_a_real_error_is_told_although_the_deadline_leaves_no_time_for_another_model(tmp_path: Path) -> None:
    clock = FakeClock()

    async def fail_late(_: VideoRequest, __: Context) -> None:
        clock.advance(60)
        raise UNAVAILABLE

    backend = ScriptedBackend(fail_late)
    with pytest.raises(HuggingFaceAPIError) as raised:
        asyncio.run(fallback(backend).generate(request(FIRST), context(tmp_path, clock, deadline_seconds=60)))
    assert raised.value is UNAVAILABLE
    assert backend.calls == [FIRST]


@pytest.mark.parametrize("may_fall_back", [True, False])
def test_a_cancel_wins_over_the_error_that_it_met(may_fall_back: bool, tmp_path: Path) -> None:
    async def fail_at_the_cancel(_: VideoRequest, surroundings: Context) -> None:
        surroundings.cancel()
        raise UNAVAILABLE

    backend = ScriptedBackend(fail_at_the_cancel)
    with pytest.raises(GenerationCancelledError):
        generate(backend, tmp_path, request(FIRST, fallback=may_fall_back))
    assert backend.calls == [FIRST]


def test_a_lookup_that_hangs_ends_with_a_cancel_the_deadline_or_its_task(tmp_path: Path) -> None:
    async def ended_by(how: str) -> BaseException:
        clock = FakeClock()
        entered, left = asyncio.Event(), asyncio.Event()

        async def hang(_: ModelReference, __: Task) -> Sequence[ModelReference]:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                left.set()
            return []

        surroundings = context(tmp_path, clock, deadline_seconds=60)
        policy = fallback(ScriptedBackend(), expand=hang)
        generation = asyncio.ensure_future(policy.generate(request(FIRST), surroundings))
        await entered.wait()
        match how:
            case "cancel":
                surroundings.cancel()
            case "deadline":
                clock.advance(61)
            case _:
                generation.cancel()
        async with asyncio.timeout(10):
            (error,) = await asyncio.gather(generation, return_exceptions=True)
        assert left.is_set()
        assert isinstance(error, BaseException)
        return error

    assert isinstance(asyncio.run(ended_by("cancel")), GenerationCancelledError)
    assert isinstance(asyncio.run(ended_by("deadline")), DeadlineExceededError)
    assert isinstance(asyncio.run(ended_by("task")), asyncio.CancelledError)
