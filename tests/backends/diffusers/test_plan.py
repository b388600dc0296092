"""From a request to the calls that fulfil it, without loading a model."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cinelet.backends.diffusers import DiffusersBackend
from cinelet.backends.diffusers.arguments import pipeline_classes
from cinelet.backends.diffusers.families import family_of
from cinelet.backends.diffusers.model_folder import open_folder
from cinelet.backends.diffusers.plan import Model, Plan, Window, make_plan
from cinelet.backends.diffusers.quiet import quiet_libraries
from cinelet.domain.errors import ValidationError
from cinelet.domain.request import Task, VideoRequest
from cinelet.domain.result import Adjustment
from cinelet.media.timing import frames_needed
from cinelet.testing import example_image
from tests.backends.diffusers.stand_ins import stand_ins
from tests.conftest import TinyPipeline
from tests.tiny_pipelines import TASKS

TEXT, IMAGE = Task.TEXT_TO_VIDEO, Task.IMAGE_TO_VIDEO


@cache
def model_in(path: Path, task: Task | None = None) -> Model:
    folder = open_folder(path, f"local:{path}")
    with quiet_libraries(), stand_ins():
        classes = pipeline_classes(folder, family_of(folder.class_name))
    return DiffusersBackend()._model(folder, classes, task or next(iter(classes)))


def plan_of(path: Path, task: Task | None = None, **fields: Any) -> Plan:
    model = model_in(path, task)
    task = task or (TEXT if "prompt" in model.arguments and "image" not in model.arguments else IMAGE)
    image = example_image() if task is IMAGE else None
    return make_plan(VideoRequest(task=task, **{"prompt": "a circle", "image": image, "duration": 1, **fields}), model)


def changes(plan: Plan) -> dict[str, Adjustment]:
    return {adjustment.parameter: adjustment for adjustment in plan.adjustments}


@pytest.fixture
def carded(tiny_pipeline: TinyPipeline, tmp_path: Path) -> Any:
    """Return a function that gives a copy of a tiny pipeline with a card."""

    def make(name: str, **card: Any) -> Path:
        folder = Path(shutil.copytree(tiny_pipeline(name), tmp_path / name))
        (folder / "cinelet.json").write_text(json.dumps(card))
        return folder

    return make


def test_what_is_not_asked_for_is_left_to_the_pipeline(tiny_pipeline: TinyPipeline) -> None:
    plan = plan_of(tiny_pipeline("wan_t2v"))
    assert set(plan.arguments) == {"prompt", "width", "height"}
    assert plan.adjustments == ()
    assert plan.applied["num_inference_steps"] == plan.steps == 50


def test_the_card_gives_defaults_that_the_request_overrides(carded: Any) -> None:
    folder = carded("ltx", default_steps=20, default_guidance=3.5, native_fps=8)
    plan = plan_of(folder, TEXT, width=64, height=64)
    assert plan.arguments["num_inference_steps"] == 20
    assert plan.arguments["guidance_scale"] == 3.5
    assert plan.arguments["frame_rate"] == 8
    plan = plan_of(folder, TEXT, width=64, height=64, num_inference_steps=7, guidance_scale=0)
    assert (plan.arguments["num_inference_steps"], plan.arguments["guidance_scale"]) == (7, 0)


def test_what_an_image_loses_is_reported(tiny_pipeline: TinyPipeline) -> None:
    file = BytesIO()
    Image.new("RGBA", (64, 64), (255, 0, 0, 9)).save(file, "PNG")
    plan = plan_of(tiny_pipeline("wan_i2v"), IMAGE, width=64, height=64, image=file.getvalue())
    assert [(change.parameter, change.applied) for change in plan.adjustments] == [("image", "opaque")]


def test_a_seed_that_is_not_given_is_chosen_anew_each_time(tiny_pipeline: TinyPipeline) -> None:
    seeds = {plan_of(tiny_pipeline("wan_t2v")).seed for _ in range(5)}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_seed_0_is_a_seed(tiny_pipeline: TinyPipeline) -> None:
    plan = plan_of(tiny_pipeline("wan_t2v"), seed=0)
    assert plan.seed == plan.applied["seed"] == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.floats(1, 30), st.integers(1, 60), st.sampled_from(sorted(TASKS)))
def test_frames_are_on_the_grid_and_enough_or_the_model_cannot_go_on(
    tiny_pipeline: TinyPipeline, duration: float, fps: int, name: str
) -> None:
    model = model_in(tiny_pipeline(name))
    image = example_image() if TASKS[name] == (IMAGE,) else None
    request = VideoRequest(task=TASKS[name][0], prompt="a", image=image, duration=duration, fps=fps)
    plan = make_plan(request, model)
    made = plan.windows[0].frames + sum(window.frames - window.overlap for window in plan.windows[1:])
    needed = int((frames_needed(duration, fps) - 1) * plan.native_fps / fps) + 1
    assert made == plan.applied["frames_made"]
    assert all(model.grid.frames.at_least(window.frames) == window.frames for window in plan.windows)
    assert plan.windows[0].overlap == 0
    assert all(window.frames > window.overlap > 0 for window in plan.windows[1:])
    assert made >= needed or (len(plan.windows) == 1 and not model.can_continue)


def test_a_long_clip_goes_on_from_its_last_frames_and_says_so(carded: Any) -> None:
    folder = carded("ltx", native_fps=8, max_frames=49, continuation_frames=9)
    plan = plan_of(folder, TEXT, duration=30, fps=8)
    assert plan.windows[0] == Window(49)
    assert set(plan.windows[1:-1]) == {Window(49, 9)}
    assert plan.applied["windows"] == len(plan.windows) == 6
    assert "at most 49 frames (6.125 s) in one run" in changes(plan)["duration"].reason
    assert "6 runs are joined, each going on from the last 9 frames" in changes(plan)["duration"].reason


def test_a_model_that_goes_on_from_a_picture_takes_one_frame_whatever_its_card_says(carded: Any) -> None:
    plan = plan_of(carded("wan_ti2v", max_frames=17, continuation_frames=9), TEXT, duration=2, fps=16)
    assert plan.windows == (Window(17), Window(17, 1))
    assert "the last frame of" in changes(plan)["duration"].reason


def test_a_model_that_cannot_go_on_makes_what_it_can(tiny_pipeline: TinyPipeline) -> None:
    plan = plan_of(tiny_pipeline("latte"), duration=10)
    assert plan.windows == (Window(4),)


def test_a_size_off_the_grid_moves_and_is_reported(tiny_pipeline: TinyPipeline) -> None:
    plan = plan_of(tiny_pipeline("ltx"), TEXT, width=100, height=60)
    assert plan.size == (plan.arguments["width"], plan.arguments["height"]) == (96, 64)
    assert changes(plan)["size"].applied == "96x64"


def test_a_picture_without_a_size_gives_its_shape(tiny_pipeline: TinyPipeline) -> None:
    portrait = example_image(width=300, height=600)
    plan = plan_of(tiny_pipeline("wan_i2v"), IMAGE, image=portrait)
    width, height = plan.size
    assert height / width == pytest.approx(2, abs=0.1)
    assert width * height == pytest.approx(832 * 480, rel=0.1)
    assert plan.image is not None
    assert plan.image.size == plan.size


@pytest.mark.parametrize(("fit", "how"), [("crop", "cut off"), ("pad", "black rows")])
def test_a_picture_with_a_size_is_fitted_as_asked_and_reported(tiny_pipeline: TinyPipeline, fit: str, how: str) -> None:
    wide = example_image(width=128, height=64)
    plan = plan_of(tiny_pipeline("wan_i2v"), IMAGE, image=wide, width=64, height=64, image_fit=fit)
    assert plan.image is not None
    assert plan.image.size == (64, 64)
    assert how in changes(plan)["image"].reason


def test_what_is_no_picture_is_refused(tiny_pipeline: TinyPipeline) -> None:
    with pytest.raises(ValidationError, match="image"):
        plan_of(tiny_pipeline("wan_i2v"), IMAGE, image=b"no picture")


def test_a_prompt_for_a_model_that_reads_none_is_reported(tiny_pipeline: TinyPipeline) -> None:
    plan = plan_of(tiny_pipeline("svd"), negative_prompt="blurry")
    assert {"prompt", "negative_prompt"}.isdisjoint(plan.arguments)
    assert changes(plan)["prompt"].applied is None
    assert changes(plan)["negative_prompt"].applied is None


def test_unknown_words_of_a_negative_prompt_are_reported_as_its_own(carded: Any) -> None:
    plan = plan_of(carded("ltx", vocabulary={"color": ["red"]}), TEXT, prompt="red", negative_prompt="red fog")
    assert plan.arguments["negative_prompt"] == "red"
    assert changes(plan)["negative_prompt"].requested == "fog"
    assert "prompt" not in changes(plan)


def test_stable_video_diffusion_gets_its_guidance_as_a_ramp_that_does_not_fall(tiny_pipeline: TinyPipeline) -> None:
    arguments = plan_of(tiny_pipeline("svd"), guidance_scale=0.5).arguments
    assert (arguments["min_guidance_scale"], arguments["max_guidance_scale"]) == (0.5, 0.5)
    arguments = plan_of(tiny_pipeline("svd"), guidance_scale=4).arguments
    assert (arguments["min_guidance_scale"], arguments["max_guidance_scale"]) == (1.0, 4)
    assert arguments["fps"] == 7


def test_hunyuan_video_15_gets_its_guidance_through_its_guider(tiny_pipeline: TinyPipeline) -> None:
    plan = plan_of(tiny_pipeline("hunyuan_video15"), guidance_scale=4)
    assert "guidance_scale" not in plan.arguments
    assert plan.guider_guidance == plan.applied["guidance_scale"] == 4
    assert plan_of(tiny_pipeline("hunyuan_video15")).guider_guidance is None


def test_hunyuan_video_is_told_to_heed_a_negative_prompt(tiny_pipeline: TinyPipeline) -> None:
    plan = plan_of(tiny_pipeline("hunyuan_video"), negative_prompt="blurry", guidance_scale=1)
    assert plan.arguments["guidance_scale"] == 1
    assert plan.applied["true_cfg_scale"] > 1
    assert plan.adjustments == ()
    assert "true_cfg_scale" not in plan_of(tiny_pipeline("hunyuan_video")).arguments


@pytest.mark.parametrize("name", ["wan_t2v", "hunyuan_video15"])
def test_a_negative_prompt_without_guidance_has_no_effect_and_is_reported(
    tiny_pipeline: TinyPipeline, name: str
) -> None:
    plan = plan_of(tiny_pipeline(name), negative_prompt="blurry", guidance_scale=1)
    assert "negative_prompt" not in plan.arguments
    assert changes(plan)["negative_prompt"] == Adjustment(
        "negative_prompt", "blurry", None, "a negative prompt counts only with guidance above 1, and it is 1"
    )


def test_the_rate_of_a_card_is_kept_as_a_fraction(carded: Any) -> None:
    assert plan_of(carded("wan_t2v", native_fps=23.976), fps=8).native_fps == Fraction(23976, 1000)
