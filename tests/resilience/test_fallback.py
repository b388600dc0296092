from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cinelet.clock import FakeClock
from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.errors import (
    AllModelsFailedError,
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


def changes(video: GeneratedVideo) -> list[tuple[str, str, str]]:
    return [(change.requested, change.applied, change.reason) for change in video.adjustments]


def test_a_model_that_works_is_the_only_one_asked(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    video = generate(backend, tmp_path)
    assert backend.calls == [FIRST]
    assert (video.model, video.adjustments) == (FIRST, ())
    assert [(attempt.model, attempt.error) for attempt in video.attempts] == [(FIRST, None)]


@pytest.mark.parametrize(
    "error",
    [
        ModelNotFoundError("There is no such model", status=404),
        HuggingFaceAPIError("The host is down"),
        HuggingFaceAPIError("The job failed", status=500, accepted=True),
        AuthenticationError("No token", status=401),
        PaymentRequiredError("No credit", status=402),
        RateLimitError("Too many", status=429),
        CircuitOpenError("Left alone", retry_after=9),
        ModelUnsupportedError("No such task", FIRST),
        CapacityError("No memory"),
        ProcessingError("Not a video", "downloading"),
        DeadlineExceededError("The attempt took too long"),
    ],
    ids=lambda error: f"{type(error).__name__}-{getattr(error, 'accepted', False)}",
)
def test_the_second_model_is_used_and_the_answer_says_so(error: CineletError, tmp_path: Path) -> None:
    backend = ScriptedBackend(script={FIRST: error})
    video = generate(backend, tmp_path)
    assert backend.calls == [FIRST, SECOND]
    assert video.model == SECOND
    assert video.path.read_text().startswith(SECOND)
    assert changes(video) == [(FIRST, SECOND, f"{FIRST} failed, so {SECOND} was used: {error}")]
    assert video.adjustments[0].parameter == "model"
    assert [(attempt.model, attempt.error) for attempt in video.attempts] == [(FIRST, error.to_dict()), (SECOND, None)]


@pytest.mark.parametrize(
    ("script", "tried"),
    [
        ({model: CapacityError("No memory") for model in (FIRST, SECOND, THIRD)}, [FIRST, SECOND, THIRD]),
        ({FIRST: SubmissionUnknownError("It may run")}, [FIRST]),
        ({FIRST: CapacityError("No memory"), SECOND: SubmissionUnknownError("It may run")}, [FIRST, SECOND]),
        ({FIRST: ValidationError("No prompt")}, []),
    ],
    ids=["all fail", "the first may run", "the second may run", "the request is wrong"],
)
def test_whoever_collects_hears_of_the_attempts_of_a_generation_that_failed(
    script: dict[str, Any], tried: list[str], tmp_path: Path
) -> None:
    backend = ScriptedBackend(script=script)
    with collecting() as attempts, pytest.raises(CineletError):
        generate(backend, tmp_path)
    assert [attempt.model for attempt in attempts] == tried
    assert [attempt.error for attempt in attempts] == [script[model].to_dict() for model in tried]


def test_every_attempt_has_its_time_and_the_providers_request_id(tmp_path: Path) -> None:
    clock = FakeClock()

    async def fail_after_minutes(_: VideoRequest, __: Context) -> None:
        clock.advance(240)
        raise HuggingFaceAPIError("The job failed", provider="fal", request_id="abc", accepted=True)

    async def take_a_minute(_: VideoRequest, __: Context) -> None:
        clock.advance(60)

    backend = ScriptedBackend(script={FIRST: fail_after_minutes, SECOND: take_a_minute})
    attempts = generate(backend, tmp_path, clock=clock).attempts
    assert [(attempt.seconds, attempt.provider, attempt.request_id) for attempt in attempts] == [
        (240, "fal", "abc"),
        (60, "somebody", "request-2"),
    ]


def test_fallbacks_are_those_of_the_task_in_their_order(tmp_path: Path) -> None:
    backend = ScriptedBackend(UNAVAILABLE)
    with pytest.raises(AllModelsFailedError):
        generate(backend, tmp_path)
    with pytest.raises(AllModelsFailedError):
        generate(backend, tmp_path, request(FIRST, task=Task.IMAGE_TO_VIDEO, image=b"PNG"))
    assert backend.calls == [FIRST, SECOND, THIRD, FIRST, THIRD]


def test_a_fallback_that_is_the_model_itself_is_asked_once(tmp_path: Path) -> None:
    backend = ScriptedBackend(UNAVAILABLE)
    with pytest.raises(AllModelsFailedError):
        generate(backend, tmp_path, request(SECOND))
    assert backend.calls == [SECOND, THIRD]


def test_an_invalid_model_falls_back_as_specified(tmp_path: Path) -> None:
    async def expand(model: ModelReference, task: Task) -> Sequence[ModelReference]:
        if model.name == "invalid/model":
            raise ModelNotFoundError("The Hub has no model invalid/model", status=404)
        return await as_named(model, task)

    video = generate(ScriptedBackend(), tmp_path, request("invalid/model"), expand=expand)
    assert video.model == SECOND
    assert [attempt.model for attempt in video.attempts] == ["invalid/model", SECOND]
    ((asked, _, reason),) = changes(video)
    assert asked == "invalid/model"
    assert "The Hub has no model invalid/model" in reason


@pytest.mark.parametrize(
    "asked",
    [
        request(FIRST, fallback=False),
        request("invalid/model", fallback=False),
        request("local:org/name"),
        request("local:./here"),
        request("embedded"),
        request("plugin:name"),
    ],
    ids=lambda asked: f"{asked.model}-{asked.fallback}",
)
def test_who_wants_this_model_gets_it_or_its_error(asked: VideoRequest, tmp_path: Path) -> None:
    backend = ScriptedBackend(UNAVAILABLE)
    with pytest.raises(HuggingFaceAPIError) as raised:
        generate(backend, tmp_path, asked)
    assert raised.value is UNAVAILABLE
    assert backend.calls == [asked.model]


@pytest.mark.parametrize(
    "error",
    [
        ValidationError("The host refuses the request", {"request": "no"}),
        GenerationCancelledError("Stop"),
        SubmissionUnknownError("Who knows"),
        AuthenticationError("There is no token; set HF_TOKEN"),
        RuntimeError("A bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_another_model_would_not_change_is_raised_at_once(error: Exception, tmp_path: Path) -> None:
    backend = ScriptedBackend(script={FIRST: error})
    with pytest.raises(type(error)) as raised:
        generate(backend, tmp_path)
    assert raised.value is error
    assert backend.calls == [FIRST]


def test_a_fallback_without_a_credential_is_passed_over(tmp_path: Path) -> None:
    backend = ScriptedBackend(script={FIRST: UNAVAILABLE, SECOND: AuthenticationError("There is no token")})
    assert generate(backend, tmp_path).model == THIRD


def test_providers_of_a_model_come_before_other_models_and_are_looked_up_late(tmp_path: Path) -> None:
    looked_up = []

    async def expand(model: ModelReference, _: Task) -> Sequence[ModelReference]:
        looked_up.append(str(model))
        return [ModelReference("hf", model.name, provider=provider) for provider in ("fal-ai", "together")]

    backend = ScriptedBackend(script={"hf:org/model:fal-ai": UNAVAILABLE})
    video = generate(backend, tmp_path, request("hf:org/model"), expand=expand)
    assert backend.calls == ["hf:org/model:fal-ai", "hf:org/model:together"]
    assert looked_up == ["hf:org/model"]
    assert video.adjustments == ()  # the model is the one that was asked for
    assert [attempt.provider for attempt in video.attempts] == ["fal-ai", "somebody"]


def test_a_way_that_was_tried_is_not_tried_again(tmp_path: Path) -> None:
    async def expand(model: ModelReference, task: Task) -> Sequence[ModelReference]:
        if model.provider is None:
            return [ModelReference("hf", model.name, provider=provider) for provider in ("fal-ai", "together")]
        return await as_named(model, task)

    backend = ScriptedBackend(UNAVAILABLE)
    fallbacks = {Task.TEXT_TO_VIDEO: ["hf:org/model", "hf:org/model:fal-ai"]}
    with pytest.raises(AllModelsFailedError):
        generate(backend, tmp_path, request("hf:org/model:together"), expand=expand, fallbacks=fallbacks)
    assert backend.calls == ["hf:org/model:together", "hf:org/model:fal-ai"]


def test_all_failed_names_each_model_its_reason_and_what_to_do(tmp_path: Path) -> None:
    errors = [ModelNotFoundError("There is none"), UNAVAILABLE, PaymentRequiredError("No credit, " * 90)]
    backend = ScriptedBackend(script=dict(zip((FIRST, SECOND, THIRD), errors, strict=True)))
    with pytest.raises(AllModelsFailedError) as raised:
        generate(backend, tmp_path)
    message = str(raised.value)
    assert message.startswith(f"All 3 attempts failed: {FIRST} (There is none); {SECOND} (The host is overloaded); ")
    assert message.endswith(" ...). Try again later, or name another model")
    assert len(message) < 600
    assert "\n" not in message
    assert raised.value.exceptions == tuple(errors)
    assert raised.value.retryable


def test_where_trying_later_would_not_help_it_is_not_said(tmp_path: Path) -> None:
    with pytest.raises(AllModelsFailedError, match=r"\)\. Name another model$") as raised:
        generate(ScriptedBackend(AuthenticationError("Wrong token", status=401)), tmp_path)
    assert not raised.value.retryable


def test_an_unknown_model_is_told_the_configured_ones_that_look_like_it(tmp_path: Path) -> None:
    known = ["ali-vilab/text-to-video-ms-1.7b", "cerspense/zeroscope_v2_576w", "cerspense/zeroscope_v2_XL"]
    missing = ModelNotFoundError("There is none", status=404, provider="fal-ai", request_id="abc")
    backend = ScriptedBackend(missing)

    def error_of(model: str) -> ModelNotFoundError:
        with pytest.raises(ModelNotFoundError) as generated:
            generate(backend, tmp_path, request(model, fallback=False), known_models=known)
        with pytest.raises(ModelNotFoundError) as asked:
            asyncio.run(fallback(backend, known_models=known).capabilities(ModelReference.parse(model)))
        assert str(asked.value) == str(generated.value)
        return generated.value

    assert str(error_of("hf:ali-vilab/text-to-video:fal-ai")) == f"There is none; did you mean {known[0]}?"
    assert str(error_of("cerspense/Zeroscope_v2_576")).startswith(f"There is none; did you mean {known[1]} or ")
    assert str(error_of("invalid/model")) == f"There is none; configured are {', '.join(known)}"
    assert known[1] not in str(error_of(known[1]))
    assert error_of("invalid/model").to_dict() == {**missing.to_dict(), "message": str(error_of("invalid/model"))}


def test_a_failed_fallback_is_not_commented(tmp_path: Path) -> None:
    backend = ScriptedBackend(script={FIRST: UNAVAILABLE, SECOND: ModelNotFoundError("There is none")})
    video = generate(backend, tmp_path, known_models=[FIRST, SECOND])
    assert video.model == THIRD
    assert [(attempt.error or {}).get("message") for attempt in video.attempts][1] == "There is none"


def test_capabilities_are_those_of_the_model_alone() -> None:
    backend = ScriptedBackend(script={FIRST: UNAVAILABLE})
    policy = fallback(backend)
    with pytest.raises(HuggingFaceAPIError):
        asyncio.run(policy.capabilities(ModelReference.parse(FIRST)))
    assert asyncio.run(policy.capabilities(ModelReference.parse(SECOND))).model == SECOND
    asyncio.run(policy.aclose())
    assert backend.closed


def test_wrong_fallbacks_are_refused_when_the_chain_is_made() -> None:
    with pytest.raises(ValidationError, match="not a reference"):
        fallback(ScriptedBackend(), fallbacks={Task.TEXT_TO_VIDEO: ["not a reference"]})
