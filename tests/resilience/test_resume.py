from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cinelet.clock import FakeClock
from cinelet.domain.backend import Context, GeneratedVideo, Handle
from cinelet.domain.errors import AllModelsFailedError, HuggingFaceAPIError, SubmissionUnknownError
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task, VideoRequest
from cinelet.resilience import FallbackBackend
from cinelet.resilience.candidates import candidates
from tests.resilience.doubles import UNAVAILABLE, ScriptedBackend, context, request

FALLBACKS = {Task.TEXT_TO_VIDEO: ["hf:org/b", "hf:org/c"]}
A1, A2, B1, B2, C1 = (
    "hf:org/a:fal-ai",
    "hf:org/a:together",
    "hf:org/b:fal-ai",
    "hf:org/b:together",
    "hf:org/c:fal-ai",
)


async def providers(model: ModelReference, _: Task) -> Sequence[ModelReference]:
    names = [model.provider] if model.provider else ["fal-ai", "together"]
    return [ModelReference("hf", model.name, provider=name) for name in names]


async def nobody_knows(model: ModelReference, _: Task) -> Sequence[ModelReference]:
    raise HuggingFaceAPIError(f"The Hub is down, so nobody knows who serves {model}")


def resume(
    backend: ScriptedBackend, handle: Handle, folder: Path, *, asked: VideoRequest | None = None, **parts: Any
) -> GeneratedVideo:
    values = {"expand": providers, "fallbacks": FALLBACKS, "clock": FakeClock(), **parts}
    policy = FallbackBackend(backend, **values)
    return asyncio.run(policy.generate(asked or request("hf:org/a"), context(folder, handle=handle)))


@pytest.mark.parametrize("model", [A1, A2, B1, B2])
def test_a_resume_goes_on_with_the_model_of_the_handle(model: str, tmp_path: Path) -> None:
    backend = ScriptedBackend()
    assert resume(backend, {"model": model, "id": "1"}, tmp_path).model == model
    assert backend.calls == [model]


def test_a_paid_job_is_found_although_nobody_can_say_who_serves_the_model(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    assert resume(backend, {"model": A2, "id": "1"}, tmp_path, expand=nobody_knows).model == A2


@pytest.mark.parametrize(
    ("model", "calls"),
    [
        (A1, [A1, A2, B1, B2, C1, "hf:org/c:together"]),
        (A2, [A2, B1, B2, C1, "hf:org/c:together"]),
        (B2, [B2, C1, "hf:org/c:together"]),
    ],
)
def test_what_comes_after_it_is_tried_and_what_came_before_is_not(model: str, calls: list[str], tmp_path: Path) -> None:
    backend = ScriptedBackend(UNAVAILABLE)
    with pytest.raises(AllModelsFailedError):
        resume(backend, {"model": model, "id": "1"}, tmp_path)
    assert backend.calls == calls


def test_a_model_that_is_no_longer_listed_is_tried_first(tmp_path: Path) -> None:
    gone = "hf:org/gone:fal-ai"
    backend = ScriptedBackend(script={gone: UNAVAILABLE})
    assert resume(backend, {"model": gone, "id": "1"}, tmp_path).model == A1
    assert backend.calls == [gone, A1]


def test_a_resume_keeps_the_handle_and_the_next_model_does_not_see_it(tmp_path: Path) -> None:
    seen: list[Handle | None] = []

    async def note_and_fail(_: VideoRequest, surroundings: Context) -> None:
        seen.append(surroundings.handle)
        raise UNAVAILABLE

    backend = ScriptedBackend(script={A1: note_and_fail, A2: note_and_fail})
    resume(backend, {"model": A1, "id": "1"}, tmp_path)
    assert seen == [{"model": A1, "id": "1"}, None]


def test_the_handle_of_the_last_model_is_kept(tmp_path: Path) -> None:
    """Its job may still be had, with a better token say; only a next model makes it obsolete."""
    surroundings = context(tmp_path, handle={"model": "hf:org/c:together", "id": "1"})
    policy = FallbackBackend(ScriptedBackend(UNAVAILABLE), expand=providers, fallbacks=FALLBACKS, clock=FakeClock())
    with pytest.raises(HuggingFaceAPIError):
        asyncio.run(policy.generate(request("hf:org/a"), surroundings))
    assert surroundings.handle is not None


def test_a_resumed_fallback_is_reported_as_one(tmp_path: Path) -> None:
    video = resume(ScriptedBackend(), {"model": B1, "id": "1"}, tmp_path)
    (change,) = video.adjustments
    assert (change.parameter, change.requested, change.applied) == ("model", "hf:org/a", B1)
    assert change.reason == f"hf:org/a failed, so {B1} was used: it failed before this process took over"


@pytest.mark.parametrize("model", [A1, A2])
def test_a_resumed_provider_of_the_model_is_no_fallback(model: str, tmp_path: Path) -> None:
    assert resume(ScriptedBackend(), {"model": model, "id": "1"}, tmp_path).adjustments == ()


def test_a_submission_in_doubt_is_asked_about_once_and_not_fallen_back_from(tmp_path: Path) -> None:
    backend = ScriptedBackend(SubmissionUnknownError("It was being sent"))
    with pytest.raises(SubmissionUnknownError):
        resume(backend, {"model": A1, "submitting": True}, tmp_path)
    assert backend.calls == [A1]


@pytest.mark.parametrize("handle", [{}, {"model": None}, {"model": 7}, {"model": "no reference"}, {"id": "1"}])
def test_a_handle_that_names_no_model_is_a_job_in_doubt(handle: Handle, tmp_path: Path) -> None:
    backend = ScriptedBackend()
    with pytest.raises(SubmissionUnknownError, match="may run and be billed"):
        resume(backend, handle, tmp_path)
    assert backend.calls == []


@pytest.mark.parametrize(
    ("asked", "way", "is_found"),
    [
        ("org/name", "hf:org/name:fal-ai", True),
        ("org/name", "local:org/name", True),
        ("hf:org/name", "hf:org/name:fal-ai", True),
        ("hf:org/name:fal-ai", "hf:org/name:fal-ai", True),
        ("hf:org/name:together", "hf:org/name:fal-ai", False),
        ("hf:org/name", "local:org/name", False),
        ("hf:org/other", "hf:org/name:fal-ai", False),
        ("https://a.example/", "https://a.example/", True),
        ("https://a.example/", "https://b.example/", False),
        ("openai:wan@http://a/v1", "openai:wan@http://b/v1", False),
    ],
)
def test_a_way_is_recognised_by_the_name_that_it_has_in_common_with_its_model(
    asked: str, way: str, *, is_found: bool
) -> None:
    line = candidates(ModelReference.parse(asked), [], resumed=ModelReference.parse(way))
    assert [str(candidate.model) for candidate in line] == [way, asked]
    assert line[0].is_fallback is not is_found
