"""The client as the specification calls it: bytes in, bytes out, and nothing left behind."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest

from cinelet.backends.huggingface import HuggingFaceClient
from cinelet.domain.errors import DeadlineExceededError, FileSizeError, ModelNotFoundError, ValidationError
from cinelet.domain.request import Limits, Task
from cinelet.testing import FakeBackend, decoded_frames, example_image
from tests.backends.huggingface.caller import MODELS, Caller
from tests.fake_providers import FakeInternet

DEFAULTS = {Task.TEXT_TO_VIDEO: "org/text", Task.IMAGE_TO_VIDEO: "org/image"}


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def called(backend: Any, name: str, *arguments: Any, **fields: Any) -> bytes:
    settings = {"default_models": DEFAULTS, **fields.pop("settings", {})}

    async def run() -> bytes:
        async with HuggingFaceClient(backend, **settings) as client:
            video: bytes = await getattr(client, name)(*arguments, **fields)
            return video

    return asyncio.run(run())


def test_a_text_becomes_the_bytes_of_a_video(own_temporary_folder: Path, tmp_path: Path) -> None:
    backend = FakeBackend(size=(64, 48))
    video = called(
        backend,
        "text_to_video",
        prompt="a cat",
        model="org/m",
        negative_prompt="dogs",
        duration=2,
        fps=4,
        num_inference_steps=3,
    )
    (request,) = backend.requests
    assert (request.task, request.prompt, request.model, request.negative_prompt) == (
        Task.TEXT_TO_VIDEO,
        "a cat",
        "org/m",
        "dogs",
    )
    (tmp_path / "video.mp4").write_bytes(video)
    assert len(decoded_frames(tmp_path / "video.mp4")) == 8
    assert list(own_temporary_folder.iterdir()) == []
    assert backend.closed


def test_the_defaults_are_the_specifications() -> None:
    backend = FakeBackend()
    called(backend, "text_to_video", "a cat")
    called(backend, "image_to_video", example_image())
    assert [(r.model, r.duration, r.fps, r.num_inference_steps) for r in backend.requests] == [
        ("org/text", 6, 8, 50),
        ("org/image", 6, 8, 50),
    ]


def test_an_image_becomes_the_bytes_of_a_video() -> None:
    backend = FakeBackend()
    called(backend, "image_to_video", image=example_image(), model="org/m", prompt="a cat", duration=1, fps=2, seed=7)
    (request,) = backend.requests
    assert (request.task, request.image, request.prompt, request.seed) == (
        Task.IMAGE_TO_VIDEO,
        example_image(),
        "a cat",
        7,
    )


@pytest.mark.parametrize(
    "fields", [{"prompt": ""}, {"prompt": "x" * 1001}, {"prompt": "a", "fps": 99}, {"prompt": None}]
)
def test_a_wrong_request_reaches_no_backend(fields: dict[str, Any]) -> None:
    backend = FakeBackend()
    with pytest.raises(ValidationError):
        called(backend, "text_to_video", **fields)
    assert backend.requests == []


def test_a_field_of_a_wrong_type_is_named_and_not_repeated() -> None:
    with pytest.raises(ValidationError, match="duration") as caught:
        called(FakeBackend(), "text_to_video", "a cat", duration="s3cret")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ValidationError, match="nonsense"):
        called(FakeBackend(), "text_to_video", "a cat", nonsense=1)


def test_the_limits_are_the_operators() -> None:
    with pytest.raises(FileSizeError):
        called(FakeBackend(), "image_to_video", example_image(), settings={"limits": Limits(max_image_bytes=10)})


def test_a_failure_leaves_nothing_behind(own_temporary_folder: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        called(FakeBackend(models=["other"]), "text_to_video", "a cat")
    with pytest.raises(DeadlineExceededError):
        called(FakeBackend(step_seconds=5), "text_to_video", "a cat", settings={"deadline_seconds": 0.05})
    assert list(own_temporary_folder.iterdir()) == []


def test_a_remote_model_gives_the_bytes_that_its_host_made(caller: Caller, internet: FakeInternet) -> None:
    for name, argument, task in (
        ("text_to_video", "a cat", Task.TEXT_TO_VIDEO),
        ("image_to_video", example_image(), Task.IMAGE_TO_VIDEO),
    ):
        settings = {"default_models": {task: MODELS[task]}}
        assert called(caller.backend(), name, argument, settings=settings) == internet.video
