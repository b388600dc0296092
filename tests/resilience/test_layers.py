"""All policies around one backend, as a service has them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from cinelet.clock import FakeClock
from cinelet.domain.backend import Backend, Context, GeneratedVideo
from cinelet.domain.errors import (
    AllModelsFailedError,
    CircuitOpenError,
    GenerationCancelledError,
    HuggingFaceAPIError,
    ModelNotFoundError,
    SubmissionUnknownError,
)
from cinelet.domain.request import Task, VideoRequest
from cinelet.resilience import BreakerBackend, FallbackBackend, RetryBackend, RetryBudgets, circuit_of, host_of
from tests.resilience.doubles import UNAVAILABLE, HangingClock, ScriptedBackend, as_named, context, request

FIRST, SECOND = "hf:org/first:fal-ai", "hf:org/second:together"


def layers(backend: Backend, clock: FakeClock | None = None, *, fallbacks: Sequence[str] = (SECOND,)) -> Backend:
    time = clock or FakeClock()
    retried = RetryBackend(backend, key=host_of, budgets=RetryBudgets(), clock=time, random=Random(1))
    guarded = BreakerBackend(retried, key=circuit_of, clock=time, attempt_seconds=600)
    return FallbackBackend(
        guarded, expand=as_named, fallbacks=dict.fromkeys(Task, fallbacks), clock=time, attempt_seconds=600
    )


def codes(video: GeneratedVideo) -> list[tuple[str, str | None]]:
    return [(attempt.model, attempt.error["code"] if attempt.error else None) for attempt in video.attempts]


def test_a_policy_is_a_backend() -> None:
    assert isinstance(layers(ScriptedBackend()), Backend)


def test_the_result_tells_every_attempt_of_every_model(tmp_path: Path) -> None:
    backend = ScriptedBackend(script={FIRST: UNAVAILABLE, SECOND: [UNAVAILABLE]})
    video = asyncio.run(layers(backend).generate(request(FIRST), context(tmp_path)))
    assert backend.calls == [FIRST] * 3 + [SECOND] * 2
    assert codes(video) == [*[(FIRST, "model_host_failed")] * 3, (SECOND, "model_host_failed"), (SECOND, None)]


def test_an_unknown_submission_is_never_sent_again_nor_fallen_back_from(tmp_path: Path) -> None:
    backend = ScriptedBackend(SubmissionUnknownError("No reply", status=504))
    with pytest.raises(SubmissionUnknownError):
        asyncio.run(layers(backend).generate(request(FIRST), context(tmp_path)))
    assert backend.calls == [FIRST]


def test_a_model_that_keeps_failing_is_skipped_at_once(tmp_path: Path) -> None:
    async def six_requests() -> tuple[GeneratedVideo, list[float]]:
        for _ in range(5):
            await backend.generate(request(FIRST), context(tmp_path))
        clock.pauses_seconds.clear()
        return await backend.generate(request(FIRST), context(tmp_path)), clock.pauses_seconds

    clock = FakeClock()
    host = ScriptedBackend(script={FIRST: UNAVAILABLE})
    backend = layers(host, clock)
    video, pauses = asyncio.run(six_requests())
    assert codes(video) == [(FIRST, "circuit_open"), (SECOND, None)]
    assert pauses == []
    assert host.calls.count(FIRST) == 5 * 3  # three attempts of a request are one failure


def test_a_thousand_requests_to_a_dead_provider_ask_it_a_few_times(tmp_path: Path) -> None:
    async def one_after_another() -> None:
        for _ in range(1000):
            with pytest.raises((HuggingFaceAPIError, CircuitOpenError)):
                await backend.generate(request(FIRST), context(tmp_path))

    host = ScriptedBackend(UNAVAILABLE)
    backend = layers(host, fallbacks=())
    asyncio.run(one_after_another())
    assert len(host.calls) <= 20


def test_fifty_generations_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """A third each: made at once, made after a refusal, made by the second model; each with its own file and facts."""

    class Crowded(ScriptedBackend):
        def __init__(self) -> None:
            super().__init__()
            self.refused: set[str | None] = set()

        async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
            await asyncio.sleep(0)
            kind = int((request.prompt or "").split()[-1]) % 3
            if kind == 1 and request.prompt not in self.refused:
                self.refused.add(request.prompt)
                raise UNAVAILABLE
            if kind == 2 and request.model == FIRST:
                raise ModelNotFoundError(f"There is none for {context.folder.name}")
            return await super().generate(request, context)

    async def all_at_once() -> list[GeneratedVideo]:
        backend = layers(Crowded())
        work = []
        for number in range(50):
            folder = tmp_path / f"folder-{number}"
            folder.mkdir()
            work.append(backend.generate(request(FIRST, prompt=f"video {number}"), context(folder)))
        return await asyncio.gather(*work)

    for number, video in enumerate(asyncio.run(all_at_once())):
        expected = SECOND if number % 3 == 2 else FIRST
        assert video.path == tmp_path / f"folder-{number}" / "video.mp4"
        assert video.path.read_text() == f"{expected} video {number}"
        match number % 3:
            case 0:
                assert codes(video) == [(FIRST, None)]
            case 1:
                assert codes(video) == [(FIRST, "model_host_failed"), (FIRST, None)]
            case _:
                assert codes(video) == [(FIRST, "model_not_found"), (SECOND, None)]
                assert f"folder-{number}" in video.adjustments[0].reason


def test_a_cancel_of_the_awaiting_task_passes_through(tmp_path: Path) -> None:
    async def cancelled(host: ScriptedBackend, clock: FakeClock, entered: asyncio.Event) -> list[str]:
        generation = asyncio.ensure_future(layers(host, clock).generate(request(FIRST), context(tmp_path)))
        await entered.wait()
        generation.cancel()
        with pytest.raises(asyncio.CancelledError):
            await generation
        return host.calls

    async def while_it_works() -> list[str]:
        entered = asyncio.Event()

        async def hang(_: VideoRequest, __: Context) -> None:
            entered.set()
            await asyncio.Event().wait()

        return await cancelled(ScriptedBackend(hang), FakeClock(), entered)

    async def while_it_pauses() -> list[str]:
        clock = HangingClock()
        return await cancelled(ScriptedBackend(UNAVAILABLE), clock, clock.paused)

    assert asyncio.run(while_it_works()) == [FIRST]
    assert asyncio.run(while_it_pauses()) == [FIRST]


def test_a_cancel_of_the_context_passes_through(tmp_path: Path) -> None:
    async def stop(_: VideoRequest, surroundings: Context) -> None:
        surroundings.cancel()
        surroundings.check()

    host = ScriptedBackend(stop)
    with pytest.raises(GenerationCancelledError):
        asyncio.run(layers(host).generate(request(FIRST), context(tmp_path)))
    assert host.calls == [FIRST]


def test_when_all_models_fail_each_cause_is_there(tmp_path: Path) -> None:
    host = ScriptedBackend(script={FIRST: UNAVAILABLE, SECOND: ModelNotFoundError("There is none")})
    with pytest.raises(AllModelsFailedError) as raised:
        asyncio.run(layers(host).generate(request(FIRST), context(tmp_path)))
    assert [cause["code"] for cause in raised.value.to_dict()["causes"]] == ["model_host_failed", "model_not_found"]


def test_closing_closes_the_backend() -> None:
    host = ScriptedBackend()
    asyncio.run(layers(host).aclose())
    assert host.closed
