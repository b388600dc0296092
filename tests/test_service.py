from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.errors import (
    CapacityError,
    CineletError,
    FileSizeError,
    GenerationCancelledError,
    HuggingFaceAPIError,
    ModelUnsupportedError,
    ProcessingError,
    RateLimitError,
    ValidationError,
)
from cinelet.domain.progress import Progress, Stage
from cinelet.domain.request import Limits, Task, VideoRequest
from cinelet.service import VideoService
from cinelet.testing import FakeBackend, example_image

DEFAULTS = {Task.TEXT_TO_VIDEO: "fake:text", Task.IMAGE_TO_VIDEO: "fake:image"}


def service(backend: FakeBackend | None = None, **parts: Any) -> VideoService:
    return VideoService(backend or FakeBackend(), default_models=DEFAULTS, **parts)


def request(**values: Any) -> VideoRequest:
    return VideoRequest(**{"task": Task.TEXT_TO_VIDEO, "prompt": "a red circle", "duration": 1, **values})


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made; whatever is left there was forgotten."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


class Misreporting(FakeBackend):
    """Makes another video than it was asked for, and says nothing."""

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        return await super().generate(request.model_copy(update={"duration": 2, "fps": 5, "width": 32}), context)


def test_a_text_gives_the_specifications_dict_with_measured_values(temporary: Path) -> None:
    backend = FakeBackend(size=(80, 64))
    video = asyncio.run(service(backend).generate_text_to_video("a red circle", duration=2, fps=5))
    assert video["video_bytes"][4:8] == b"ftyp"
    assert video["video_size"] == len(video["video_bytes"])
    assert (video["duration"], video["fps"], video["resolution"], video["frames"]) == (2.0, 5, "80x64", 10)
    assert video["sha256"] == hashlib.sha256(video["video_bytes"]).hexdigest()
    assert (video["model"], video["requested_model"], video["codec"]) == ("fake:text", "fake:text", "h264")
    assert isinstance(video["seed"], int)
    assert video["generation_time"] > 0
    assert (video["adjustments"], video["attempts"], video["cache"]) == ([], [], "off")
    assert list(temporary.iterdir()) == []


def test_the_methods_have_the_specifications_defaults() -> None:
    backend = FakeBackend()
    asyncio.run(service(backend).generate_text_to_video("a"))
    asyncio.run(service(backend).generate_image_to_video(example_image()))
    for made, task in zip(backend.requests, Task, strict=True):
        assert made.task is task
        assert (made.model, made.duration, made.fps, made.num_inference_steps) == (DEFAULTS[task], 6, 8, 50)
        assert made.negative_prompt is None


def test_arguments_reach_the_backend_by_position_as_specified() -> None:
    backend = FakeBackend()
    asyncio.run(service(backend).generate_text_to_video("a", "fake:other", "blurry", 2, 4, 3))
    asyncio.run(service(backend).generate_image_to_video(example_image(), "fake:other", "spin", 2, 4, 3))
    text, image = backend.requests
    for made in backend.requests:
        assert (made.model, made.duration, made.fps, made.num_inference_steps) == ("fake:other", 2, 4, 3)
    assert (text.prompt, text.negative_prompt, image.prompt, image.image) == ("a", "blurry", "spin", example_image())


@pytest.mark.parametrize(
    ("values", "message", "details"),
    [
        ({"prompt": ""}, "Prompt must be 1-1000 characters", {"prompt": "Invalid prompt length"}),
        ({"prompt": "x" * 1001}, "Prompt must be 1-1000 characters", {"prompt": "Invalid prompt length"}),
        ({"duration": 0}, "Duration must be 1-9 seconds", {"duration": "Must be between 1 and 9"}),
        ({"duration": 10}, "Duration must be 1-9 seconds", {"duration": "Must be between 1 and 9"}),
        ({"fps": 61}, "FPS must be 1-60", {"fps": "Must be between 1 and 60"}),
        (
            {"num_inference_steps": 101},
            "Inference steps must be 1-100",
            {"num_inference_steps": "Must be between 1 and 100"},
        ),
    ],
)
def test_invalid_input_is_the_specifications_error_and_spends_nothing(
    values: dict[str, Any], message: str, details: dict[str, str]
) -> None:
    backend = FakeBackend()
    with pytest.raises(ValidationError) as caught:
        asyncio.run(service(backend, limits=Limits(max_duration=9)).generate_text_to_video(**{"prompt": "a", **values}))
    assert (caught.value.message, caught.value.details) == (message, details)
    assert backend.requests == []


def test_values_of_a_wrong_type_are_named_and_not_repeated() -> None:
    with pytest.raises(ValidationError) as caught:
        asyncio.run(service().generate_text_to_video("my secret", fps="SECRET"))  # type: ignore[arg-type]
    assert set(caught.value.details) == {"fps"}
    assert "SECRET" not in str(caught.value)


def test_a_large_image_is_a_file_size_error() -> None:
    with pytest.raises(FileSizeError) as caught:
        asyncio.run(service(limits=Limits(max_image_bytes=10)).generate_image_to_video(b"x" * 11))
    assert (caught.value.size, caught.value.limit, caught.value.kind) == (11, 10, "image")


@pytest.mark.parametrize("error", [HuggingFaceAPIError("down"), RateLimitError("slow"), CapacityError("full")])
def test_an_error_of_the_model_passes_as_it_is(error: CineletError, temporary: Path) -> None:
    with pytest.raises(type(error)) as caught:
        asyncio.run(service(FakeBackend(error=error)).generate_text_to_video("a"))
    assert caught.value is error
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("task", Task)
def test_any_other_error_is_a_processing_error_with_its_cause(task: Task, temporary: Path) -> None:
    cause = RuntimeError("boom")
    made = service(FakeBackend(error=cause))
    work: Callable[[], Any] = {
        Task.TEXT_TO_VIDEO: lambda: made.generate_text_to_video("a b"),
        Task.IMAGE_TO_VIDEO: lambda: made.generate_image_to_video(example_image()),
    }[task]
    with pytest.raises(ProcessingError, match=r"^Failed to generate video: boom$") as caught:
        asyncio.run(work())
    assert caught.value.stage == task.replace("-", "_")
    assert caught.value.__cause__ is cause
    assert list(temporary.iterdir()) == []


def test_an_error_without_text_is_named_by_its_class() -> None:
    with pytest.raises(ProcessingError, match="Failed to generate video: KeyError"):
        asyncio.run(service(FakeBackend(error=KeyError())).generate(request()))


def test_neither_errors_nor_logs_hold_the_prompt(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="cinelet")
    error = RuntimeError("cannot draw 'my secret garden' with hf_abcdefghij")
    with pytest.raises(ProcessingError) as caught:
        asyncio.run(service(FakeBackend(error=error)).generate(request(prompt="my secret garden")))
    for text in (str(caught.value), caplog.text):
        assert "cannot draw" in text
        assert "garden" not in text
        assert "hf_abcdefghij" not in text


def test_a_result_says_what_was_asked_applied_and_changed() -> None:
    backend = FakeBackend(ignores=["guidance_scale"])
    with asyncio.run(service(backend).generate(request(guidance_scale=7, seed=5, width=64, height=32))) as result:
        assert result.asked["guidance_scale"] == 7
        assert result.applied["seed"] == result.seed == 5
        assert "guidance_scale" not in result.applied
        assert [(found.parameter, found.requested, found.applied) for found in result.adjustments] == [
            ("guidance_scale", 7.0, None)
        ]
        assert (result.facts.resolution, result.facts.fps) == ("64x32", Fraction(8))
        assert set(result.timings) == {"denoising", "probing"}


def test_what_differs_in_the_file_is_reported_even_if_the_backend_was_silent() -> None:
    with asyncio.run(service(Misreporting()).generate(request(width=64, height=48))) as result:
        assert {found.parameter: (found.requested, found.applied) for found in result.adjustments} == {
            "fps": (8, 5.0),
            "duration": (1.0, 2.0),
            "width": (64, 32),
        }


def test_the_configured_preset_is_used_where_none_is_asked() -> None:
    backend = FakeBackend()
    asyncio.run(service(backend, preset="low").generate(request())).close()
    asyncio.run(service(backend, preset="low").generate(request(preset="high"))).close()
    assert [made.preset for made in backend.requests] == ["low", "high"]


def test_progress_ends_at_one_when_the_file_was_measured(tmp_path: Path) -> None:
    seen: list[Progress] = []
    asyncio.run(service().generate(request(), Context(tmp_path, on_progress=seen.append)))
    assert seen[-1].fraction == 1.0
    assert seen[-1].stage is Stage.STORING
    assert all(progress.fraction <= 1.0 for progress in seen)


def test_a_video_above_the_limit_is_refused_and_removed(tmp_path: Path) -> None:
    with pytest.raises(FileSizeError) as caught:
        asyncio.run(service(limits=Limits(max_video_bytes=100)).generate(request(), Context(tmp_path)))
    assert caught.value.kind == "video"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_video_is_an_error_and_removed(tmp_path: Path) -> None:
    class Liar(FakeBackend):
        async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
            path = context.folder / "video.mp4"
            path.write_text("<html>Bad gateway</html>")
            return GeneratedVideo(path, model=str(request.model))

    with pytest.raises(ProcessingError) as caught:
        asyncio.run(service(Liar()).generate(request(), Context(tmp_path)))
    assert caught.value.stage == "probe"
    assert list(tmp_path.iterdir()) == []


def test_cancelling_the_awaiting_task_stops_the_backend_and_leaves_nothing(temporary: Path) -> None:
    backend = FakeBackend(steps=100, step_seconds=0.05)

    async def cancelled() -> None:
        task = asyncio.ensure_future(service(backend).generate(request()))
        while not backend.requests:  # noqa: ASYNC110  (the fake is no asyncio object)
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(cancelled(), timeout=4))
    assert list(temporary.iterdir()) == []


def test_a_context_that_is_cancelled_already_spends_nothing(tmp_path: Path) -> None:
    backend = FakeBackend()
    context = Context(tmp_path)
    context.cancel()
    with pytest.raises(GenerationCancelledError):
        asyncio.run(service(backend).generate(request(), context))
    assert backend.requests == []


def test_a_model_reference_is_parsed_before_anything_is_spent() -> None:
    backend = FakeBackend()
    with pytest.raises(ValidationError) as caught:
        asyncio.run(service(backend).generate(request(model="nonsense")))
    assert set(caught.value.details) == {"model"}
    assert backend.requests == []


def test_a_task_the_model_lacks_passes_as_unsupported() -> None:
    with pytest.raises(ModelUnsupportedError):
        asyncio.run(service(FakeBackend(tasks=[Task.IMAGE_TO_VIDEO])).generate_text_to_video("a"))


def test_closing_the_service_closes_the_backend() -> None:
    backend = FakeBackend()

    async def used() -> str:
        async with service(backend) as open_service:
            return (await open_service.capabilities("fake:x")).model

    assert asyncio.run(used()) == "fake:x"
    assert backend.closed
