"""The contract suite, run on the fake backend, and shown to fail for backends that break it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cinelet.domain.backend import Backend, Context, GeneratedVideo
from cinelet.domain.request import Task, VideoRequest
from cinelet.testing import BackendContract, ContractCase, FakeBackend, decoded_frames

SMALL = {"width": 64, "height": 48}
CASES = [
    ContractCase("fake:model", Task.TEXT_TO_VIDEO, SMALL),
    ContractCase("fake:model", Task.IMAGE_TO_VIDEO),
]


class TestFakeBackend(BackendContract):
    unknown_model = "fake:missing"

    @classmethod
    def make_backend(cls) -> Backend:
        return FakeBackend(models=["fake:model"])

    @pytest.fixture(scope="class", params=CASES, ids=str)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> ContractCase:
        case: ContractCase = request.param
        return case


class TestFakeBackendThatIgnoresMuch(BackendContract):
    unknown_model = "fake:missing"

    @classmethod
    def make_backend(cls) -> Backend:
        ignores = ["negative_prompt", "guidance_scale", "num_inference_steps"]
        return FakeBackend(models=["fake:model"], ignores=ignores, tasks=[Task.TEXT_TO_VIDEO])

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ContractCase:
        return CASES[0]


class Broken(FakeBackend):
    """Breaks one promise."""

    def __init__(self, promise: str) -> None:
        super().__init__(models=["fake:model"], ignores=["guidance_scale"])
        self.promise = promise

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        if self.promise == "repeatable":
            request = request.model_copy(update={"seed": None})
        if self.promise == "as long as asked":
            request = request.model_copy(update={"duration": request.duration * 2})
        if self.promise == "cancellable":
            context.check = lambda: None  # type: ignore[method-assign]
        video = await super().generate(request, context)
        if self.promise == "tells what it ignored":
            return GeneratedVideo(video.path, video.model, video.seed, video.applied)
        return video

    def _denoise(self, steps: int, context: Context) -> None:
        if self.promise != "reports steps":
            super()._denoise(steps, context)


@pytest.mark.parametrize(
    ("promise", "check", "extra"),
    [
        ("repeatable", "test_the_same_seed_gives_the_same_frames", {}),
        ("as long as asked", "test_the_file_has_the_duration_rate_and_size_asked", {}),
        ("cancellable", "test_a_cancel_stops_within_one_step_and_leaves_no_file", {}),
        ("cancellable", "test_a_deadline_stops_the_work_and_leaves_no_file", {}),
        ("reports steps", "test_progress_only_grows_and_counts_the_denoising_steps", {}),
        ("tells what it ignored", "test_a_parameter_without_effect_is_reported", {"parameter": "guidance_scale"}),
    ],
)
def test_the_suite_notices_a_backend_that_is_not(
    promise: str, check: str, extra: dict[str, Any], tmp_path: Path
) -> None:
    from cinelet.testing.contract import _Session

    with asyncio.Runner() as runner, pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(BackendContract(), check)(_Session(Broken(promise), runner), CASES[0], tmp_path, **extra)


def test_a_fake_fails_as_it_is_told(tmp_path: Path) -> None:
    backend = FakeBackend(error=RuntimeError("boom"), error_at_step=2)
    context = Context(tmp_path)
    with pytest.raises(RuntimeError, match="boom"):
        asyncio.run(backend.generate(CASES[0].request(), context))
    assert context.latest is not None
    assert context.latest.step == 2
    assert list(tmp_path.iterdir()) == []


def test_a_fakes_picture_follows_the_prompt(tmp_path: Path) -> None:
    backend = FakeBackend()

    def frames(prompt: str) -> Any:
        folder = tmp_path / prompt
        folder.mkdir()
        video = asyncio.run(backend.generate(CASES[0].request(prompt=prompt), Context(folder)))
        return decoded_frames(video.path)

    assert (frames("one") != frames("two")).any()
