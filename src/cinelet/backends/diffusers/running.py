"""Runs a plan on a loaded pipeline: frames out, or an error; nothing of the run is left on the pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from cinelet.backends.diffusers.plan import Plan
from cinelet.backends.diffusers.progress import StepReporter
from cinelet.domain.errors import CapacityError, CineletError, ProcessingError
from cinelet.domain.request import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SEED_STEP = 0x9E3779B97F4A7C15
"""Windows after the first get seeds of their own, a golden-ratio step apart."""


def run(
    plan: Plan, pipeline: Any, classes: dict[Task, type], condition_class: type | None, reporter: StepReporter
) -> NDArray[np.uint8]:
    """Return the frames of a plan, [frames, height, width, 3], at the plan's native rate.

    classes: the pipeline class of each task of the model; all share the weights of `pipeline`.
    Raises `GenerationCancelledError` and `DeadlineExceededError` within one step, `CapacityError` when memory is out,
    `ProcessingError` for whatever else goes wrong.
    """
    clip: NDArray[np.uint8] | None = None
    for number, window in enumerate(plan.windows):
        reporter.begin_run(number)
        seed = (plan.seed + number * _SEED_STEP) % 2**63
        arguments = {**plan.arguments, plan.frame_argument: window.frames}
        if clip is None:
            used = _as(classes[plan.task], pipeline)
            if plan.image is not None:
                arguments["image"] = plan.image
        else:
            used, given = _continuation(pipeline, classes, condition_class, clip[-window.overlap :])
            arguments |= given
        frames = _call(used, arguments, seed=seed, guidance=plan.guider_guidance, reporter=reporter)
        reporter.end_run()
        clip = frames if clip is None else _joined(clip, frames, window.overlap)
    if clip is None:
        raise ValueError("a plan without a window")
    return clip


def _joined(clip: NDArray[np.uint8], frames: NDArray[np.uint8], overlap: int) -> NDArray[np.uint8]:
    """Return the clip and the frames that go on from its last `overlap`, faded into each other there.

    Both show the same there, but for small differences in tone and edges: at a hard cut these would be seen as a jump.
    """
    weight = (np.arange(overlap, dtype=np.float32) / overlap).reshape(-1, 1, 1, 1)
    faded = np.rint(clip[-overlap:] * (1 - weight) + frames[:overlap] * weight).astype(np.uint8)
    return np.concatenate([clip[:-overlap], faded, frames[overlap:]])


def _as(cls: type, pipeline: Any) -> Any:
    """Return the pipeline, or another of the same weights."""
    if type(pipeline) is cls:
        return pipeline
    # Not `from_pipe`: it casts the shared weights, those that must stay in float32 among them.
    parts = {**pipeline.config, **pipeline.components}
    names = inspect.signature(cls).parameters
    return cls(**{name: parts[name] for name in names if name in parts})


def _continuation(
    pipeline: Any,
    classes: dict[Task, type],
    condition_class: type | None,
    last: NDArray[np.uint8],
) -> tuple[Any, dict[str, Any]]:
    """Return the pipeline that goes on from the last frames, and the arguments that give it those."""
    from PIL import Image

    images = [Image.fromarray(frame) for frame in last]
    if len(last) > 1 and condition_class is not None:
        from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

        condition = LTXVideoCondition(video=images, frame_index=0)
        return _as(condition_class, pipeline), {"conditions": [condition], "image_cond_noise_scale": 0.0}
    return _as(classes[Task.IMAGE_TO_VIDEO], pipeline), {"image": images[-1]}


def _call(
    pipeline: Any, arguments: dict[str, Any], *, seed: int, guidance: float | None, reporter: StepReporter
) -> NDArray[np.uint8]:
    """Run the pipeline once; return [frames, height, width, 3]."""
    import torch

    name = type(pipeline).__name__
    try:
        with _prepared(pipeline, seed=seed, guidance=guidance, reporter=reporter) as generator, torch.inference_mode():
            output = pipeline(**arguments, generator=generator, output_type="np").frames
    except CineletError:
        raise
    except torch.OutOfMemoryError as error:
        message = "The device's memory is full; use a smaller size, fewer frames or a smaller model"
        raise CapacityError(message) from error
    except Exception as error:  # whatever a pipeline raises, the caller hears one line of it
        first_line = (str(error).splitlines() or [""])[0]
        raise ProcessingError(f"{name} failed: {type(error).__name__}: {first_line:.200}", "denoising") from error
    frames = np.asarray(output[0])
    if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ProcessingError(f"{name} returned no frames (shape {frames.shape})", "decoding")
    if not np.isfinite(frames).all():
        message = "The model produced values that are not numbers; try another seed, fewer steps or another precision"
        raise ProcessingError(message, "decoding")
    # Bytes at once: as floats, half a minute of large frames would take several gigabytes.
    rounded: NDArray[np.uint8] = np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8)
    return rounded


@contextmanager
def _prepared(pipeline: Any, *, seed: int, guidance: float | None, reporter: StepReporter) -> Iterator[Any]:
    """Put bar, guidance and random numbers in place, and back afterwards; yields the generator."""
    import torch

    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    guider = getattr(pipeline, "guider", None)
    pipeline.progress_bar = reporter.bar
    try:
        # Some families draw from the global generator as well; the caller's numbers go on as if nothing had run.
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            if guidance is not None and guider is not None:
                pipeline.guider = guider.new(guidance_scale=guidance)
            yield torch.Generator("cpu").manual_seed(seed)
    finally:
        del pipeline.progress_bar
        if guidance is not None and guider is not None:
            pipeline.guider = guider
        pipeline.maybe_free_model_hooks()
