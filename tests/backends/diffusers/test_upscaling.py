"""Clips made anew at a larger size by a second model."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cinelet.backends.diffusers import DiffusersBackend
from cinelet.backends.diffusers.families import FAMILIES
from cinelet.backends.diffusers.session import Job, Outcome, Session
from cinelet.backends.diffusers.upscaling import Share
from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.errors import GenerationCancelledError, ModelNotFoundError, ModelUnsupportedError
from cinelet.domain.progress import Progress, Stage
from cinelet.domain.request import Task
from cinelet.domain.result import Adjustment
from cinelet.testing import ContractCase, decoded_frames
from tests.conftest import TinyPipeline

SMALL = {"num_inference_steps": 2, "width": 64, "height": 64}


@pytest.fixture
def backend() -> Iterator[DiffusersBackend]:
    backend = DiffusersBackend(device="cpu")
    yield backend
    asyncio.run(backend.aclose())


@pytest.fixture
def quick(tiny_pipeline: TinyPipeline, tmp_path: Path) -> Any:
    """Return a function that gives a tiny pipeline of eight frames a second, with a card."""

    def make(name: str, **card: Any) -> str:
        folder = Path(shutil.copytree(tiny_pipeline(name), tmp_path / f"{name}-model", dirs_exist_ok=True))
        (folder / "cinelet.json").write_text(json.dumps({"native_fps": 8, **card}))
        return f"local:{folder}"

    return make


def generate(
    backend: DiffusersBackend, model: str, folder: Path, context: Context | None = None, **fields: Any
) -> GeneratedVideo:
    folder.mkdir(exist_ok=True)
    case = ContractCase(model, fields.pop("task", Task.TEXT_TO_VIDEO), SMALL)
    return asyncio.run(backend.generate(case.request(**fields), context or Context(folder)))


def changes(video: GeneratedVideo) -> dict[str, Adjustment]:
    return {adjustment.parameter: adjustment for adjustment in video.adjustments}


@pytest.mark.parametrize("upscaler", ["text_to_video_sd", "animatediff", "wan_t2v", "cogvideox"])
def test_each_family_with_a_pipeline_for_clips_makes_one_of_the_size_asked(
    backend: DiffusersBackend, quick: Any, tmp_path: Path, upscaler: str
) -> None:
    first, second = quick("latte", default_size=[64, 64]), quick(upscaler)
    video = generate(backend, first, tmp_path / "video", upscaler=second, width=128, height=64)
    frames = decoded_frames(video.path)
    assert frames.shape == (8, 64, 128, 3)
    assert video.model == first
    assert video.applied["upscaler"] == second
    assert video.applied["upscaled_from"] == "64x32"
    assert (video.applied["width"], video.applied["height"]) == (128, 64)
    assert "size" not in changes(video)
    assert video.timings["upscaling"] > 0
    again = generate(backend, first, tmp_path / "again", upscaler=second, width=128, height=64)
    assert (decoded_frames(again.path) == frames).all()


def test_without_a_size_it_is_twice_the_first_models_own(backend: DiffusersBackend, quick: Any, tmp_path: Path) -> None:
    first, second = quick("ltx", default_size=[96, 64]), quick("text_to_video_sd")
    video = generate(backend, first, tmp_path / "video", upscaler=second, width=None, height=None)
    assert video.applied["upscaled_from"] == "96x64"
    assert decoded_frames(video.path).shape == (8, 128, 192, 3)


def test_a_model_may_be_its_own_upscaler(backend: DiffusersBackend, quick: Any, tmp_path: Path) -> None:
    model = quick("text_to_video_sd")
    plain = decoded_frames(generate(backend, model, tmp_path / "plain").path)
    video = generate(backend, model, tmp_path / "video", upscaler=model)
    assert plain.shape == decoded_frames(video.path).shape
    assert (plain != decoded_frames(video.path)).any()


def test_a_picture_is_made_a_clip_and_that_a_larger_one(backend: DiffusersBackend, quick: Any, tmp_path: Path) -> None:
    first, second = quick("wan_i2v"), quick("text_to_video_sd")
    video = generate(backend, first, tmp_path / "video", task=Task.IMAGE_TO_VIDEO, upscaler=second)
    assert decoded_frames(video.path).shape == (8, 64, 64, 3)
    assert video.applied["upscaled_from"] == "32x32"


def test_the_larger_clip_shows_what_the_smaller_one_does(
    backend: DiffusersBackend, quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of little strength, the second model leaves most as it is."""
    clips: list[tuple[Job, Outcome]] = []
    run = Session.run

    def noted(session: Session, job: Job) -> Outcome:
        clips.append((job, run(session, job)))
        return clips[-1][1]

    monkeypatch.setattr(Session, "run", noted)
    monkeypatch.setitem(FAMILIES, "TextToVideoSD", replace(FAMILIES["TextToVideoSD"], strength=0.01))
    generate(backend, quick("ltx"), tmp_path / "video", upscaler=quick("text_to_video_sd"), width=128, height=128)
    (_, first), (job, _) = clips
    given = np.stack([np.asarray(picture) for picture in job.plan.arguments["video"]]).astype(int)
    assert given.shape == (len(first.frames), 128, 128, 3)
    assert np.abs(given[:, ::2, ::2] - first.frames).mean() < 20
    assert job.plan.arguments["strength"] == 0.01
    assert job.plan.arguments["num_inference_steps"] == 100, "one step is made of so many"


def test_a_clip_that_is_too_long_at_once_is_done_in_pieces(
    backend: DiffusersBackend, quick: Any, tmp_path: Path
) -> None:
    video = generate(backend, quick("ltx"), tmp_path / "video", upscaler=quick("text_to_video_sd", max_frames=5))
    assert len(decoded_frames(video.path)) == 8
    assert "at most 5 frames at once; 2 pieces are joined" in changes(video)["upscaler"].reason


def test_a_size_off_the_upscalers_grid_moves_and_is_reported(
    backend: DiffusersBackend, quick: Any, tmp_path: Path
) -> None:
    video = generate(backend, quick("ltx"), tmp_path / "video", upscaler=quick("wan_t2v"), width=100, height=70)
    assert decoded_frames(video.path).shape[1:3] == (64, 96)
    assert (changes(video)["size"].requested, changes(video)["size"].applied) == ("100x70", "96x64")


@pytest.mark.parametrize("name", ["ltx", "svd", "wan_i2v", "mochi"])
def test_a_model_that_makes_no_clip_anew_is_refused_by_name_before_any_work(
    backend: DiffusersBackend, quick: Any, tmp_path: Path, name: str
) -> None:
    upscaler = quick(name)
    with pytest.raises(ModelUnsupportedError, match=f"{upscaler} is no upscaler: .*makes no given clip anew"):
        generate(backend, quick("text_to_video_sd"), tmp_path / "video", upscaler=upscaler)
    assert backend._session is None


def test_an_upscaler_that_is_not_there_is_named(backend: DiffusersBackend, quick: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"local:\./no-such-model"):
        generate(backend, quick("ltx"), tmp_path / "video", upscaler="local:./no-such-model")


def test_progress_spans_both_models_and_a_cancel_stops_either(
    backend: DiffusersBackend, quick: Any, tmp_path: Path
) -> None:
    first, second = quick("ltx"), quick("text_to_video_sd")
    seen: list[Progress] = []
    (tmp_path / "whole").mkdir()
    generate(backend, first, tmp_path / "whole", Context(tmp_path / "whole", on_progress=seen.append), upscaler=second)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    steps = [progress for progress in seen if progress.stage is Stage.DENOISING and progress.step]
    assert {progress.note for progress in steps} == {"", "upscaling"}
    assert max(progress.fraction for progress in steps if not progress.note) <= 0.3
    assert min(progress.fraction for progress in steps if progress.note) > 0.3

    def cancel(progress: Progress) -> None:
        if progress.note == "upscaling" and progress.step:
            context.cancel()

    (tmp_path / "stopped").mkdir()
    context = Context(tmp_path / "stopped", on_progress=cancel)
    with pytest.raises(GenerationCancelledError):
        generate(backend, first, tmp_path / "stopped", context, upscaler=second)
    assert list((tmp_path / "stopped").iterdir()) == []


def test_a_share_of_the_progress_is_told_as_a_part_of_the_whole(tmp_path: Path) -> None:
    seen: list[Progress] = []
    Share(Share(Context(tmp_path, on_progress=seen.append), 0.5, 1.0), 0.0, 0.5, note="one").report(
        Stage.DENOISING, 0.5, step=1, steps=2, note="two"
    )
    (progress,) = seen
    assert (progress.fraction, progress.step, progress.steps, progress.note) == (0.625, 1, 2, "one, two")
