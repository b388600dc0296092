"""Runs of a pipeline: what comes out, what goes wrong, and what is left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cinelet.backends.diffusers import running
from cinelet.backends.diffusers.plan import Plan, Window
from cinelet.backends.diffusers.progress import StepReporter
from cinelet.backends.diffusers.running import run
from cinelet.domain.backend import Context
from cinelet.domain.errors import CapacityError, CineletError, GenerationCancelledError, ProcessingError
from cinelet.domain.request import Task

TEXT, IMAGE = Task.TEXT_TO_VIDEO, Task.IMAGE_TO_VIDEO
PLAN = Plan(
    task=TEXT,
    arguments={"prompt": "a circle"},
    windows=(Window(5),),
    frame_argument="num_frames",
    native_fps=Fraction(8),
    size=(16, 8),
    seed=7,
    steps=3,
)


class Pipeline:
    """Stands in for one of diffusers': draws numbers for three steps, or does as `behave` says."""

    def __init__(self, behave: Callable[[dict[str, Any]], Any] | None = None) -> None:
        self.behave = behave
        self.config: dict[str, Any] = {"behave": behave}
        self.components: dict[str, Any] = {}
        self.calls: list[dict[str, Any]] = []
        self.freed = 0

    def __call__(self, **arguments: Any) -> Any:
        self.calls.append(arguments)
        with self.progress_bar(total=3) as bar:
            for _ in range(3):
                bar.update()
        if self.behave is not None:
            return SimpleNamespace(frames=[self.behave(arguments)])
        shape = (arguments["num_frames"], 8, 16, 3)
        return SimpleNamespace(frames=[torch.rand(shape, generator=arguments["generator"]).numpy()])

    def progress_bar(self, **_: Any) -> Any:
        raise AssertionError("the pipeline's own bar is shown")

    def maybe_free_model_hooks(self) -> None:
        self.freed += 1


@pytest.fixture
def reporter(tmp_path: Path) -> StepReporter:
    return StepReporter(Context(tmp_path), runs=1)


def failure(pipeline: Pipeline, reporter: StepReporter, kind: type[CineletError]) -> str:
    """The one line of the error that a run ends with; the pipeline must be clean afterwards."""
    with pytest.raises(kind) as failed:
        run(PLAN, pipeline, {TEXT: Pipeline}, None, reporter)
    assert "progress_bar" not in vars(pipeline)
    assert pipeline.freed == 1
    assert "\n" not in str(failed.value)
    return str(failed.value)


def test_frames_come_out_as_rounded_bytes(reporter: StepReporter) -> None:
    values = np.linspace(-0.2, 1.2, 8 * 16 * 3, dtype=np.float32).reshape(1, 8, 16, 3)
    frames = run(PLAN, Pipeline(lambda _: values), {TEXT: Pipeline}, None, reporter)
    assert frames.dtype == np.uint8
    assert (frames == np.rint(values.clip(0, 1) * 255)).all()


def test_the_pipeline_is_given_frames_seed_and_form(reporter: StepReporter) -> None:
    pipeline = Pipeline()
    run(PLAN, pipeline, {TEXT: Pipeline}, None, reporter)
    (call,) = pipeline.calls
    assert (call["prompt"], call["num_frames"], call["output_type"]) == ("a circle", 5, "np")
    assert call["generator"].initial_seed() == 7


def test_a_family_that_draws_from_the_global_generator_repeats_and_leaves_it_alone(reporter: StepReporter) -> None:
    pipeline = Pipeline(lambda _: torch.rand(2, 8, 16, 3).numpy())
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, again = (run(PLAN, pipeline, {TEXT: Pipeline}, None, reporter) for _ in range(2))
    assert (first == again).all()
    assert torch.equal(torch.rand(3), expected)


def test_values_that_are_no_numbers_are_an_error_and_no_video(reporter: StepReporter) -> None:
    broken = np.zeros((2, 8, 16, 3), np.float32)
    broken[1, 2, 3] = np.nan
    assert "not numbers" in failure(Pipeline(lambda _: broken), reporter, ProcessingError)


@pytest.mark.parametrize("shape", [(0, 8, 16, 3), (2, 8, 16), (2, 3, 8, 16), (3,)])
def test_what_is_no_row_of_frames_is_an_error(reporter: StepReporter, shape: tuple[int, ...]) -> None:
    assert "no frames" in failure(Pipeline(lambda _: np.zeros(shape)), reporter, ProcessingError)


def fail(error: BaseException) -> Callable[[dict[str, Any]], Any]:
    def behave(_: dict[str, Any]) -> Any:
        raise error

    return behave


def test_what_a_pipeline_raises_becomes_one_line(reporter: StepReporter) -> None:
    message = failure(Pipeline(fail(ValueError("shapes differ\nat layer 3"))), reporter, ProcessingError)
    assert message == "Pipeline failed: ValueError: shapes differ"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_memory_that_is_out_is_no_capacity(reporter: StepReporter, error: Exception) -> None:
    assert "use a smaller size" in failure(Pipeline(fail(error)), reporter, CapacityError)


class OtherPipeline(Pipeline):
    """Of the same parts, for another task."""


def test_another_pipeline_of_the_same_parts_knows_that_they_wait_outside_of_the_device() -> None:
    pipeline: Any = Pipeline(lambda _: np.full((1, 8, 16, 3), 1.0))
    pipeline._all_hooks, pipeline._offload_device, pipeline.other = ["hook"], "cuda:1", "not its business"
    there = running._as(OtherPipeline, pipeline)
    assert (there._all_hooks, there._offload_device) == (["hook"], "cuda:1")
    assert not hasattr(there, "other")


def test_random_numbers_come_from_the_processor_but_where_a_family_refuses_them() -> None:
    wan, helios = (type(f"{name}Pipeline", (), {"_execution_device": "cuda:1"})() for name in ("Wan", "Helios"))
    assert (running._draws_on(wan), running._draws_on(helios)) == ("cpu", "cuda:1")


def test_nothing_that_a_run_makes_is_bound_to_its_mode(reporter: StepReporter) -> None:
    weights = torch.zeros(2)

    def behave(_: dict[str, Any]) -> Any:
        weights.data = torch.ones(2)  # as weights that are brought to the device
        return np.full((1, 8, 16, 3), 1.0)

    run(PLAN, Pipeline(behave), {TEXT: Pipeline}, None, reporter)
    assert weights.requires_grad_().requires_grad, "a LoRA wants that of them"


class Autoencoder(torch.nn.Linear):
    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype


def test_an_autoencoder_that_a_failure_leaves_in_float32_is_in_half_again(reporter: StepReporter) -> None:
    def behave(_: dict[str, Any]) -> Any:
        vae.float()
        raise ValueError("while decoding")

    pipeline, vae = Pipeline(behave), Autoencoder(1, 1, dtype=torch.float16)
    pipeline.vae = vae  # type: ignore[attr-defined]
    failure(pipeline, reporter, ProcessingError)
    assert vae.dtype is torch.float16


def test_a_cancel_leaves_the_pipeline_clean(tmp_path: Path) -> None:
    context = Context(tmp_path, on_progress=lambda _: context.cancel())
    pipeline = Pipeline()
    failure(pipeline, StepReporter(context, runs=1), GenerationCancelledError)
    fresh = run(PLAN, Pipeline(), {TEXT: Pipeline}, None, StepReporter(Context(tmp_path), runs=1))
    again = run(PLAN, pipeline, {TEXT: Pipeline}, None, StepReporter(Context(tmp_path), runs=1))
    assert (again == fresh).all()


class Guider:
    def __init__(self, scale: float) -> None:
        self.scale = scale

    def new(self, *, guidance_scale: float) -> Guider:
        return Guider(guidance_scale)


def test_a_guider_is_replaced_for_one_run(reporter: StepReporter) -> None:
    pipeline: Any = Pipeline(lambda _: np.full((1, 8, 16, 3), pipeline.guider.scale / 255))
    pipeline.guider = original = Guider(6)
    frames = run(replace(PLAN, guider_guidance=42.0), pipeline, {TEXT: Pipeline}, None, reporter)
    assert (frames == 42).all()
    assert pipeline.guider is original


def test_a_guider_that_takes_no_guidance_is_a_typed_error(reporter: StepReporter) -> None:
    pipeline: Any = Pipeline()
    pipeline.guider = SimpleNamespace()
    with pytest.raises(ProcessingError, match="Pipeline failed: AttributeError"):
        run(replace(PLAN, guider_guidance=4.0), pipeline, {TEXT: Pipeline}, None, reporter)
    assert "progress_bar" not in vars(pipeline)


class FromPicture(Pipeline):
    """Goes on from a picture: each frame is a little brighter than the one before."""

    def __init__(self) -> None:
        super().__init__(self.brighten)

    def brighten(self, arguments: dict[str, Any]) -> Any:
        first = np.asarray(arguments["image"])[0, 0, 0] if "image" in arguments else 10
        steps = np.arange(arguments["num_frames"]).reshape(-1, 1, 1, 1)
        return np.broadcast_to((first + steps) / 255, (arguments["num_frames"], 8, 16, 3))


def test_a_clip_goes_on_from_its_last_frame_without_a_step_back_or_a_frame_twice(tmp_path: Path) -> None:
    plan = replace(PLAN, windows=(Window(5), Window(5, 1), Window(3, 1)))
    pipeline = Pipeline(lambda arguments: FromPicture().brighten(arguments))
    classes: dict[Task, type] = {TEXT: Pipeline, IMAGE: FromPicture}
    frames = run(plan, pipeline, classes, None, StepReporter(Context(tmp_path), runs=3))
    assert frames[:, 0, 0, 0].tolist() == list(range(10, 21))
    assert "image" not in pipeline.calls[0]


class FromClip(Pipeline):
    """Goes on from several frames, but shows them ten times brighter than they were."""

    def __init__(self) -> None:
        super().__init__(self.repeated)

    def repeated(self, arguments: dict[str, Any]) -> Any:
        (condition,) = arguments["conditions"]
        assert condition.frame_index == 0
        assert len(condition.video) == 4
        return np.full((arguments["num_frames"], 8, 16, 3), 10 * np.asarray(condition.video[0]).max() / 255)


def test_a_clip_that_goes_on_from_several_frames_fades_into_what_follows(tmp_path: Path) -> None:
    plan = replace(PLAN, windows=(Window(6), Window(6, 4)))
    pipeline = Pipeline(lambda _: np.full((6, 8, 16, 3), 10 / 255))
    classes: dict[Task, type] = {TEXT: Pipeline, IMAGE: FromPicture}
    frames = run(plan, pipeline, classes, FromClip, StepReporter(Context(tmp_path), runs=2))
    assert frames[:, 0, 0, 0].tolist() == [10, 10, 10, 32, 55, 78, 100, 100]


def test_each_window_has_a_seed_of_its_own_that_follows_from_the_first(tmp_path: Path) -> None:
    seeds = []
    for _ in range(2):
        pipeline = FromPicture()
        plan = replace(PLAN, windows=(Window(5), Window(5, 1), Window(5, 1)), seed=2**63 - 1)
        classes: dict[Task, type] = {TEXT: FromPicture, IMAGE: FromPicture}
        run(plan, pipeline, classes, None, StepReporter(Context(tmp_path), runs=3))
        seeds.append([call["generator"].initial_seed() for call in pipeline.calls])
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 3
    assert seeds[0][0] == 2**63 - 1
