"""Runs a plan on a loaded pipeline: frames out, or an error; nothing of the run is left on the pipeline."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinelet.backends.diffusers.acceleration import Acceleration
from cinelet.backends.diffusers.arguments import arguments_of
from cinelet.backends.diffusers.devices import is_out_of_memory
from cinelet.backends.diffusers.families import family_of
from cinelet.backends.diffusers.plan import Plan
from cinelet.backends.diffusers.progress import StepReporter
from cinelet.domain.errors import CapacityError, CineletError, ProcessingError
from cinelet.domain.request import Task

_SEED_STEP = 0x9E3779B97F4A7C15
"""Windows after the first get seeds of their own, a golden-ratio step apart."""


TEXTS = ("prompt", "negative_prompt")
"""The arguments that plans of one run may differ in."""

_OFFLOAD = frozenset({"_all_hooks", "_offload_device", "_offload_gpu_id"})
"""What diffusers notes on a pipeline whose parts wait outside of the device."""

Clip = NDArray[np.uint8]
"""[frames, height, width, 3]"""


class DeviceFullError(CapacityError):
    """The memory of the device is out. stage: what was being done."""

    def __init__(self, message: str, stage: str) -> None:
        super().__init__(message)
        self.stage = stage


def run(
    plan: Plan,
    pipeline: Any,
    classes: Mapping[Task, type],
    condition_class: type | None,
    reporter: StepReporter,
    *,
    acceleration: Acceleration | None = None,
) -> Clip:
    """Return the frames of a plan at its native rate.

    classes: the pipeline class of each task of the model; all share the weights of `pipeline`. acceleration: how fast
    it is to be; None for plain diffusers. Raises `GenerationCancelledError` and `DeadlineExceededError` within one
    step, `DeviceFullError` when memory is out, `ProcessingError` for whatever else goes wrong.
    """
    clip: Clip | None = None
    for number, window in enumerate(plan.windows):
        reporter.begin_run(number)
        seed = (plan.seed + number * _SEED_STEP) % 2**63
        arguments = dict(plan.arguments)
        if plan.frame_argument:
            arguments[plan.frame_argument] = window.frames + plan.lost_frames
        if clip is None:
            used = _as(classes[plan.task], pipeline)
            if plan.image is not None:
                arguments[_image_argument(classes[plan.task])] = plan.image
        else:
            used, given = _continuation(pipeline, classes, condition_class, clip[-window.overlap :])
            arguments |= given
        if plan.silent_bars:
            arguments["callback_on_step_end"] = reporter.on_step
        (frames,) = _call(used, arguments, acceleration, seeds=[seed], guidance=plan.guider_guidance, reporter=reporter)
        if isinstance(frames, CineletError):
            raise frames
        reporter.end_run()
        clip = frames if clip is None else _joined(clip, frames, window.overlap)
    if clip is None:
        raise ValueError("a plan without a window")
    return clip


def run_together(
    plans: Sequence[Plan],
    pipeline: Any,
    classes: Mapping[Task, type],
    reporter: StepReporter,
    *,
    acceleration: Acceleration | None = None,
) -> Sequence[Clip | CineletError]:
    """Run plans of one window at once, and return the frames of each, or what is wrong with them; else as `run`.

    plans: alike but for their `TEXTS` and seeds.
    """
    first = plans[0]
    reporter.begin_run(0)
    arguments = {**first.arguments, first.frame_argument: first.windows[0].frames}
    for name in TEXTS:
        if name in arguments:
            arguments[name] = [plan.arguments[name] for plan in plans]
    seeds = [plan.seed for plan in plans]
    used = _as(classes[first.task], pipeline)
    clips = _call(used, arguments, acceleration, seeds=seeds, guidance=first.guider_guidance, reporter=reporter)
    reporter.end_run()
    return clips


def _accelerated(
    acceleration: Acceleration | None, pipeline: Any, arguments: dict[str, Any], *, guidance: float | None
) -> AbstractContextManager[None]:
    return nullcontext() if acceleration is None else acceleration.on(pipeline, arguments, guidance=guidance)


def _joined(clip: Clip, frames: Clip, overlap: int) -> Clip:
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
    other = cls(**{name: parts[name] for name in names if name in parts})
    # By these it knows after its run which of the parts are to leave the device.
    vars(other).update({name: value for name, value in vars(pipeline).items() if name in _OFFLOAD})
    return other


def _continuation(
    pipeline: Any,
    classes: Mapping[Task, type],
    condition_class: type | None,
    last: Clip,
) -> tuple[Any, dict[str, Any]]:
    """Return the pipeline that goes on from the last frames, and the arguments that give it those."""
    from PIL import Image

    images = [Image.fromarray(frame) for frame in last]
    if len(last) > 1 and condition_class is not None:
        from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

        condition = LTXVideoCondition(video=images, frame_index=0)
        return _as(condition_class, pipeline), {"conditions": [condition], "image_cond_noise_scale": 0.0}
    cls = classes[Task.IMAGE_TO_VIDEO]
    return _as(cls, pipeline), {_image_argument(cls): images[-1]}


def _image_argument(cls: type) -> str:
    return arguments_of(cls).image or "image"


def _call(
    pipeline: Any,
    arguments: dict[str, Any],
    acceleration: Acceleration | None,
    *,
    seeds: Sequence[int],
    guidance: float | None,
    reporter: StepReporter,
) -> Sequence[Clip | CineletError]:
    """Run the pipeline once, and return a clip for each seed."""
    import torch

    name = type(pipeline).__name__
    try:
        fast = _accelerated(acceleration, pipeline, arguments, guidance=guidance)
        prepared = _prepared(pipeline, seeds=seeds, guidance=guidance, reporter=reporter)
        # Not in inference mode: weights that are brought to the device in it could take no LoRA afterwards.
        with fast, prepared as generator, torch.no_grad():
            output = pipeline(**arguments, generator=generator, output_type="np")
    except CineletError as error:
        # Its frames hold the tensors of the run, and whoever keeps the error would keep those.
        raise error.with_traceback(None) from None
    except Exception as error:  # whatever a pipeline raises, the caller hears one line of it
        # Its frames hold the tensors of the run.
        error.__traceback__ = None
        if is_out_of_memory(error):
            message = "The device's memory is full; use a smaller size, fewer frames or a smaller model"
            raise DeviceFullError(message, reporter.stage) from error
        raise ProcessingError(f"{name} failed: {_line_of(error)}", "denoising") from error
    # Those that make one clip at a time call it `video`.
    clips = output.frames if hasattr(output, "frames") else [output.video]
    return [_clip_of(frames, name) for frames in clips]


def _line_of(error: Exception) -> str:
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line:.200}"


def _clip_of(output: Any, name: str) -> Clip | CineletError:
    """Return what a pipeline gave as bytes, or what is wrong with it."""
    frames = np.asarray(output)
    if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        return ProcessingError(f"{name} returned no frames (shape {frames.shape})", "decoding")
    if not np.isfinite(frames).all():
        message = "The model produced values that are not numbers; try another seed, fewer steps or another precision"
        return ProcessingError(message, "decoding")
    # Bytes at once: as floats, half a minute of large frames would take several gigabytes.
    rounded: Clip = np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8)
    return rounded


def _draws_on(pipeline: Any) -> Any:
    """Return the device that random numbers come from: the processor, whose are the same beside every device."""
    return pipeline._execution_device if family_of(type(pipeline).__name__).draws_on_device else "cpu"  # noqa: SLF001


@contextmanager
def _prepared(pipeline: Any, *, seeds: Sequence[int], guidance: float | None, reporter: StepReporter) -> Iterator[Any]:
    """Put bar, guidance and random numbers in place, and back afterwards; yields the generator, a list for several."""
    import torch

    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    before = dict(vars(pipeline))
    vae = before.get("vae")
    precision = getattr(vae, "dtype", None)
    pipeline.progress_bar = reporter.bar
    # A copy: some schedulers keep the last steps' tensors, which would stay in memory after the run.
    if "scheduler" in before:
        pipeline.scheduler = copy.deepcopy(pipeline.scheduler)
        reporter.observe(pipeline.scheduler)
    try:
        # Some families draw from the global generator as well; the caller's numbers go on as if nothing had run.
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seeds[0])
            if guidance is not None and getattr(pipeline, "guider", None) is not None:
                pipeline.guider = pipeline.guider.new(guidance_scale=guidance)
            generators = [torch.Generator(_draws_on(pipeline)).manual_seed(seed) for seed in seeds]
            yield generators if len(generators) > 1 else generators[0]
    finally:
        # Whatever a run notes on its pipeline, as its last step.
        vars(pipeline).clear()
        vars(pipeline).update(before)
        if vae is not None and getattr(vae, "dtype", None) != precision:
            vae.to(dtype=precision)  # some use it in float32 for a while; where they fail, they leave it so
        pipeline.maybe_free_model_hooks()
