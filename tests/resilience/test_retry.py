from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinelet.clock import FakeClock
from cinelet.domain.backend import Context
from cinelet.domain.errors import (
    AuthenticationError,
    CapacityError,
    CineletError,
    CircuitOpenError,
    DeadlineExceededError,
    GenerationCancelledError,
    HuggingFaceAPIError,
    ModelNotFoundError,
    ModelUnsupportedError,
    PaymentRequiredError,
    ProcessingError,
    RateLimitError,
    SubmissionUnknownError,
    ValidationError,
)
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Progress, Stage
from cinelet.domain.request import VideoRequest
from cinelet.resilience import RetryBackend, RetryBudgets, host_of
from cinelet.resilience.attempts import collecting
from tests.resilience.doubles import UNAVAILABLE, HangingClock, LargestRandom, ScriptedBackend, context, request


def retry(backend: ScriptedBackend, clock: FakeClock | None = None, **parts: Any) -> RetryBackend:
    given_parts = {"key": host_of, "budgets": RetryBudgets(), "random": Random(1), **parts}
    return RetryBackend(backend, clock=clock or FakeClock(), **given_parts)


@pytest.mark.parametrize(
    "error",
    [
        HuggingFaceAPIError("down", status=500),
        HuggingFaceAPIError("down", status=502),
        HuggingFaceAPIError("down", status=503),
        HuggingFaceAPIError("down", status=504),
        HuggingFaceAPIError("no connection"),
        RateLimitError("slow down", status=429),
    ],
    ids=lambda error: f"{error.code}-{error.status}",
)
def test_what_was_not_accepted_is_asked_three_times(error: CineletError, tmp_path: Path) -> None:
    backend, clock = ScriptedBackend(error), FakeClock()
    with pytest.raises(type(error)) as raised:
        asyncio.run(retry(backend, clock).generate(request(), context(tmp_path)))
    assert raised.value is error
    assert len(backend.calls) == 3
    assert len(clock.pauses_seconds) == 2


@pytest.mark.parametrize(
    "error",
    [
        ValidationError("400 or 422", {"request": "wrong"}),
        AuthenticationError("no", status=401),
        AuthenticationError("no", status=403),
        PaymentRequiredError("no credit", status=402),
        ModelNotFoundError("none", status=404),
        ModelUnsupportedError("gone", "org/name"),
        HuggingFaceAPIError("failed minutes later", status=503, accepted=True),
        RateLimitError("too many questions about a job", status=429, accepted=True),
        SubmissionUnknownError("who knows", status=504),
        CircuitOpenError("left alone", retry_after=20),
        ProcessingError("not a video", "downloading"),
        CapacityError("no memory"),
        DeadlineExceededError("over"),
        GenerationCancelledError("stop"),
        RuntimeError("a bug"),
    ],
    ids=lambda error: f"{type(error).__name__}-{getattr(error, 'status', None)}",
)
def test_anything_else_is_asked_once(error: Exception, tmp_path: Path) -> None:
    backend, clock = ScriptedBackend(error), FakeClock()
    with pytest.raises(type(error)) as raised:
        asyncio.run(retry(backend, clock).generate(request(), context(tmp_path)))
    assert raised.value is error
    assert (len(backend.calls), clock.pauses_seconds) == (1, [])


def test_a_second_attempt_makes_the_video(tmp_path: Path) -> None:
    backend = ScriptedBackend([UNAVAILABLE])
    video = asyncio.run(retry(backend).generate(request(), context(tmp_path)))
    assert video.path.is_file()
    assert len(backend.calls) == 2


def test_every_attempt_is_told_to_whoever_collects_them(tmp_path: Path) -> None:
    clock = FakeClock()

    async def take_four_seconds(_: VideoRequest, __: Context) -> None:
        clock.advance(4)

    limited = RateLimitError("slow down", status=429, provider="fal-ai", request_id="abc", retry_after=5)
    backend = retry(ScriptedBackend([limited, take_four_seconds]), clock)
    with collecting() as attempts:
        asyncio.run(backend.generate(request(), context(tmp_path)))
    first, second = (attempt.to_dict() for attempt in attempts)
    assert first == {
        "model": "hf:org/first:fal-ai",
        "seconds": 0,
        "error": limited.to_dict(),
        "provider": "fal-ai",
        "request_id": "abc",
        "why": None,
        "cost": None,
        "may_be_billed": False,
    }
    assert second == {
        "model": "hf:org/first:fal-ai",
        "seconds": 4,
        "error": None,
        "provider": "somebody",
        "request_id": "request-2",
        "why": None,
        "cost": None,
        "may_be_billed": False,
    }


@settings(deadline=None)
@given(
    seed=st.integers(),
    base_seconds=st.floats(0.01, 10),
    cap_seconds=st.floats(0.01, 60),
    attempts=st.integers(1, 8),
)
def test_pauses_stay_within_bounds_that_double_up_to_the_cap(
    seed: int, base_seconds: float, cap_seconds: float, attempts: int
) -> None:
    def pauses(random: Random) -> list[float]:
        clock = FakeClock()
        policy = retry(
            ScriptedBackend(UNAVAILABLE),
            clock,
            random=random,
            base_seconds=base_seconds,
            cap_seconds=cap_seconds,
            attempts=attempts,
        )
        with tempfile.TemporaryDirectory() as folder, pytest.raises(HuggingFaceAPIError):
            asyncio.run(policy.generate(request(), context(Path(folder))))
        return clock.pauses_seconds

    bounds = [min(cap_seconds, base_seconds * 2**retry) for retry in range(attempts - 1)]
    assert pauses(LargestRandom()) == bounds
    assert all(0 <= pause <= bound for pause, bound in zip(pauses(Random(seed)), bounds, strict=True))


def test_jitter_is_full_from_nothing_to_the_bound(tmp_path: Path) -> None:
    clock = FakeClock()
    policy = retry(ScriptedBackend(UNAVAILABLE), clock, attempts=2, random=Random(5))
    for _ in range(90):
        with pytest.raises(HuggingFaceAPIError):
            asyncio.run(policy.generate(request(), context(tmp_path)))
    drawn = sorted(clock.pauses_seconds)
    assert [len([pause for pause in drawn if third <= 3 * pause < third + 1]) > 15 for third in range(3)] == [True] * 3


@pytest.mark.parametrize("seconds", [0, 0.5, 7, 60])
def test_the_time_that_the_host_gives_is_waited_for(seconds: float, tmp_path: Path) -> None:
    backend, clock = ScriptedBackend([RateLimitError("slow down", status=429, retry_after=seconds)]), FakeClock()
    asyncio.run(retry(backend, clock).generate(request(), context(tmp_path)))
    (pause,) = clock.pauses_seconds
    assert seconds <= pause <= seconds + 1
    assert len(backend.calls) == 2


def test_those_who_were_told_the_same_time_do_not_return_at_once(tmp_path: Path) -> None:
    clock = FakeClock()
    policy = retry(ScriptedBackend(RateLimitError("slow down", retry_after=7)), clock, attempts=2)
    for _ in range(10):
        with pytest.raises(RateLimitError):
            asyncio.run(policy.generate(request(), context(tmp_path)))
    assert len(set(clock.pauses_seconds)) == 10


def test_a_host_that_wants_more_than_a_minute_is_not_waited_for(tmp_path: Path) -> None:
    backend, clock = ScriptedBackend(RateLimitError("come back", retry_after=60.5)), FakeClock()
    with pytest.raises(RateLimitError, match="come back"):
        asyncio.run(retry(backend, clock).generate(request(), context(tmp_path)))
    assert (len(backend.calls), clock.pauses_seconds) == (1, [])


def test_the_real_error_is_raised_where_the_deadline_would_pass_meanwhile(tmp_path: Path) -> None:
    backend, clock = ScriptedBackend(RateLimitError("slow down", retry_after=30)), FakeClock()
    with pytest.raises(RateLimitError, match="slow down"):
        asyncio.run(retry(backend, clock).generate(request(), context(tmp_path, clock, deadline_seconds=20)))
    assert (len(backend.calls), clock.pauses_seconds) == (1, [])


def test_a_generation_with_a_saved_handle_is_never_sent_again(tmp_path: Path) -> None:
    backend = ScriptedBackend(UNAVAILABLE)
    surroundings = context(tmp_path, handle={"model": "hf:org/first:fal-ai", "id": "1"})
    with pytest.raises(HuggingFaceAPIError):
        asyncio.run(retry(backend).generate(request(), surroundings))
    assert len(backend.calls) == 1


def test_a_handle_that_was_saved_during_the_attempt_counts_as_well(tmp_path: Path) -> None:
    async def accepted_and_then_down(_: VideoRequest, surroundings: Context) -> None:
        await surroundings.save_handle({"model": "hf:org/first:fal-ai", "submitting": True})
        raise UNAVAILABLE

    backend = ScriptedBackend(accepted_and_then_down)
    with pytest.raises(HuggingFaceAPIError):
        asyncio.run(retry(backend).generate(request(), context(tmp_path)))
    assert len(backend.calls) == 1


@pytest.mark.parametrize("model", ["org/name", "embedded", "local:org/name", "plugin:name"])
def test_models_that_are_not_remote_are_asked_once(model: str, tmp_path: Path) -> None:
    backend = ScriptedBackend(UNAVAILABLE)
    with pytest.raises(HuggingFaceAPIError):
        asyncio.run(retry(backend).generate(request(model), context(tmp_path)))
    assert len(backend.calls) == 1


def test_a_cancel_ends_the_pause(tmp_path: Path) -> None:
    backend, seen = ScriptedBackend(UNAVAILABLE), list[Progress]()

    def cancel(progress: Progress) -> None:
        seen.append(progress)
        surroundings.cancel()

    surroundings = context(tmp_path, on_progress=cancel)
    with pytest.raises(GenerationCancelledError):
        asyncio.run(retry(backend).generate(request(), surroundings))
    assert len(backend.calls) == 1
    assert [(progress.stage, progress.measured) for progress in seen] == [(Stage.QUEUED, False)]
    assert "fal-ai did not take the request; it is asked again in" in seen[0].note


def test_a_cancel_of_the_awaiting_task_ends_the_pause(tmp_path: Path) -> None:
    async def cancelled_in_the_pause() -> int:
        backend, clock = ScriptedBackend(UNAVAILABLE), HangingClock()
        task = asyncio.ensure_future(retry(backend, clock).generate(request(), context(tmp_path)))
        await clock.paused.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(backend.calls)

    assert asyncio.run(cancelled_in_the_pause()) == 1


def test_everything_else_is_the_backends() -> None:
    backend = ScriptedBackend()
    policy = retry(backend)

    async def ask_and_close() -> str:
        capabilities = await policy.capabilities(ModelReference.parse("hf:org/first:fal-ai"))
        await policy.aclose()
        return capabilities.model

    assert asyncio.run(ask_and_close()) == "hf:org/first:fal-ai"
    assert backend.closed
