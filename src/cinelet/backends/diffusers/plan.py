"""From a request to the calls that fulfil it: what is applied, what is adjusted. Imports no torch."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cinelet.backends.diffusers.arguments import Arguments
from cinelet.backends.diffusers.families import Family
from cinelet.backends.diffusers.grid import Grid
from cinelet.backends.diffusers.model_folder import ModelFolder
from cinelet.domain.request import Task, VideoRequest
from cinelet.domain.result import Adjustment
from cinelet.media.image import decode_image, fit_image
from cinelet.media.timing import frames_needed

if TYPE_CHECKING:
    from PIL import Image

MAX_CHOSEN_SEED = 2**31
DEFAULT_TRUE_GUIDANCE = 6.0


@dataclass(frozen=True, slots=True)
class Window:
    """One run of the pipeline: `frames` are made, the first `overlap` of them are the previous window's last."""

    frames: int
    overlap: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a request will be run.

    arguments: for every call, but seed, frames and picture. size: (width, height) in pixels. native_fps: of the frames
    that come out. guider_guidance: for pipelines whose guidance is a component. lost_frames: what a run is asked for
    beyond the frames that it returns. silent_bars: as of the family. applied: for the result.
    frame_argument: empty for a pipeline that makes as many frames as it is given.
    """

    task: Task
    arguments: Mapping[str, Any]
    windows: tuple[Window, ...]
    frame_argument: str
    native_fps: Fraction
    size: tuple[int, int]
    seed: int
    steps: int | None
    image: Image.Image | None = None
    guider_guidance: float | None = None
    lost_frames: int = 0
    silent_bars: bool = False
    applied: Mapping[str, Any] = field(default_factory=dict)
    adjustments: tuple[Adjustment, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """All that is known of a model before it is loaded, for one task."""

    folder: ModelFolder
    family: Family
    arguments: Arguments
    grid: Grid
    has_guider: bool
    can_continue: bool
    """Whether a clip can go on from its end, by the image task or the family's condition pipeline."""
    takes_lora: bool = False

    @property
    def native_fps(self) -> float | None:
        """Frames a second, if known."""
        return (
            self.folder.card.native_fps or self.family.native_fps or self.arguments.default(self.arguments.rate or "")
        )

    @property
    def default_steps(self) -> int | None:
        """How many steps are made where a request names none, if known."""
        stages = self.arguments.default(self.family.steps_by_stage or "")
        by_signature = sum(stages) if stages else self.arguments.default("num_inference_steps")
        return self.folder.card.default_steps or by_signature

    def honoured(self) -> frozenset[str]:
        """Return the names of the request's fields that have an effect."""
        names = {"model", "task", "duration", "fps", "seed", "preset", "codec", "upscaler", "quality"}
        takes = self.arguments
        names |= {name for name in ("prompt", "negative_prompt", "num_inference_steps") if name in takes}
        names |= {"width", "height"} if "height" in takes else set()
        names |= {"guidance_scale"} if takes.guidance or self.has_guider else set()
        names |= {"num_inference_steps"} if self.family.steps_by_stage else set()
        names |= {"image", "image_fit"} if takes.image else set()
        names |= {"lora"} if self.takes_lora else set()
        return frozenset(names)


def make_plan(request: VideoRequest, model: Model) -> Plan:
    """Decide everything about a request. Raises `ValidationError` for an image that is none."""
    adjustments: list[Adjustment] = []
    takes = model.arguments
    arguments: dict[str, Any] = {name: value for name, value in model.family.fixed.items() if name in takes}
    _put_prompts(request, model, arguments, adjustments)
    size, image = _picture(request, model, adjustments)
    if "height" in takes:
        arguments |= {"width": size[0], "height": size[1]}
    steps = _put_steps(request, model, arguments, adjustments)
    guider_guidance = _put_guidance(request, model, arguments, adjustments)
    native_fps = _exact(model.native_fps or request.fps)
    if takes.rate:
        whole = native_fps.denominator == 1
        arguments[takes.rate] = int(native_fps) if whole else float(native_fps)
    windows = _windows(request, model, native_fps, adjustments)
    if model.family.makes_sound:
        adjustments.append(_ignored("sound", "the model's own", "the model makes sound as well; the video has none"))
    seed = secrets.randbelow(MAX_CHOSEN_SEED) if request.seed is None else request.seed
    made = windows[0].frames + sum(window.frames - window.overlap for window in windows[1:])
    applied = {name: value for name, value in arguments.items() if name not in {"prompt", "negative_prompt"}} | {
        "seed": seed,
        "frames_made": made,
        "native_fps": float(native_fps),
        "num_inference_steps": steps,
    }
    if guider_guidance is not None:
        applied["guidance_scale"] = guider_guidance
    if len(windows) > 1:
        applied["windows"] = len(windows)
    return Plan(
        task=request.task,
        arguments=arguments,
        windows=windows,
        frame_argument=takes.frames or "num_frames",
        native_fps=native_fps,
        size=size,
        seed=seed,
        steps=steps,
        image=image,
        guider_guidance=guider_guidance,
        lost_frames=model.grid.lost_frames,
        silent_bars=model.family.silent_bars,
        applied=applied,
        adjustments=tuple(adjustments),
    )


def _ignored(parameter: str, value: Any, why: str = "the model has no such parameter") -> Adjustment:
    return Adjustment(parameter, value, None, why)


def _put_prompts(request: VideoRequest, model: Model, arguments: dict[str, Any], adjustments: list[Adjustment]) -> None:
    takes, card = model.arguments, model.folder.card
    if "prompt" in takes:
        text, adjustment = card.readable(request.prompt or "")
        arguments["prompt"] = text
        adjustments += [adjustment] if adjustment else []
    elif request.prompt:
        adjustments.append(_ignored("prompt", request.prompt, "the model reads no text"))
    if request.negative_prompt is None:
        if model.family.needs_negative:
            arguments["negative_prompt"] = ""
        return
    if "negative_prompt" not in takes:
        adjustments.append(_ignored("negative_prompt", request.negative_prompt))
        return
    text, adjustment = card.readable(request.negative_prompt)
    arguments["negative_prompt"] = text
    if adjustment:
        adjustments.append(Adjustment("negative_prompt", adjustment.requested, text, adjustment.reason))
    if model.family.true_guidance:
        arguments[model.family.true_guidance] = DEFAULT_TRUE_GUIDANCE


def _put_steps(
    request: VideoRequest, model: Model, arguments: dict[str, Any], adjustments: list[Adjustment]
) -> int | None:
    """Put the steps where the pipeline wants them; return how many there will be, None if nobody knows."""
    takes, family = model.arguments, model.family
    steps = request.num_inference_steps or model.folder.card.default_steps
    if family.steps_by_stage and steps is not None:
        stages = len(takes.default(family.steps_by_stage))
        arguments[family.steps_by_stage] = [max(1, round(steps / stages))] * stages
        made: int = sum(arguments[family.steps_by_stage])
        if made != steps:
            reason = f"the model makes its steps in {stages} stages of the same number"
            adjustments.append(Adjustment("num_inference_steps", steps, made, reason))
        return made
    if "num_inference_steps" in takes and steps is not None:
        arguments["num_inference_steps"] = steps
    elif request.num_inference_steps is not None:
        adjustments.append(_ignored("num_inference_steps", request.num_inference_steps))
    steps = steps or model.default_steps
    arguments |= {name: steps for name in family.steps_as if steps is not None}
    return steps


def _put_guidance(
    request: VideoRequest, model: Model, arguments: dict[str, Any], adjustments: list[Adjustment]
) -> float | None:
    """Put the guidance where the pipeline wants it; return it where that is a component."""
    asked = request.guidance_scale
    scale = model.folder.card.default_guidance if asked is None else asked
    name = model.arguments.guidance
    if model.has_guider:
        pass
    elif name and scale is not None:
        arguments[name] = scale
        if name == "max_guidance_scale":  # a ramp over the frames, which must not fall
            lowest = model.arguments.default("min_guidance_scale")
            arguments["min_guidance_scale"] = min(scale, 1.0 if lowest is None else lowest)
    elif asked is not None:
        adjustments.append(_ignored("guidance_scale", asked))
    used = model.arguments.default(name or "") if scale is None else scale
    unguided = (name == "guidance_scale" or model.has_guider) and used is not None and used <= 1
    if unguided and "negative_prompt" in arguments and not model.family.true_guidance:
        reason = f"a negative prompt counts only with guidance above 1, and it is {used:g}"
        adjustments.append(_ignored("negative_prompt", arguments.pop("negative_prompt"), reason))
    return scale if model.has_guider else None


def _picture(
    request: VideoRequest, model: Model, adjustments: list[Adjustment]
) -> tuple[tuple[int, int], Image.Image | None]:
    """Choose the size, and bring the image to it."""
    grid = model.grid
    image = None
    if request.image is not None and request.task is Task.IMAGE_TO_VIDEO:
        image, lost = decode_image(request.image)
        adjustments += lost
    if request.width is not None and request.height is not None:
        if "height" in model.arguments:
            size, changed = grid.size_rule.adjusted(request.width, request.height)
            adjustments += changed
        else:
            size = request.width, request.height
            reason = "the model chooses its size itself; the shape is kept"
            adjustments.append(Adjustment("size", f"{request.width}x{request.height}", None, reason))
    elif image is not None:
        size = grid.size_like(*image.size) if "height" in model.arguments else image.size
    else:
        size = grid.default_size
    if image is None:
        return size, None
    fitted, adjustment = fit_image(image, width=size[0], height=size[1], fit=request.image_fit)
    adjustments += [adjustment] if adjustment else []
    return size, fitted


def _windows(
    request: VideoRequest, model: Model, native_fps: Fraction, adjustments: list[Adjustment]
) -> tuple[Window, ...]:
    """Split the frames that are needed into runs that the model can make."""
    rule = model.grid.frames
    shown = frames_needed(request.duration, request.fps)
    needed = int((shown - 1) * native_fps / request.fps) + 1  # up to the one that the last shown frame shows
    first = rule.at_least(needed)
    if first >= needed:
        return (Window(first),)
    if not model.can_continue:
        return (Window(first),)  # the retiming slows the clip, and says so
    # Only a condition pipeline takes several frames to go on from; the others take one picture.
    overlap = (model.folder.card.continuation_frames if model.family.condition_class else None) or 1
    windows = [Window(first)]
    have = first
    while have < needed:
        window = Window(rule.at_least(needed - have + overlap), overlap)
        windows.append(window)
        have += window.frames - overlap
    reason = (
        f"the model makes at most {first} frames ({float(first / native_fps):g} s) in one run; "
        f"{len(windows)} runs are joined, each going on from the last {_frames(overlap)} of the one before"
    )
    adjustments.append(Adjustment("duration", request.duration, request.duration, reason))
    return tuple(windows)


def _frames(count: int) -> str:
    return "frame" if count == 1 else f"{count} frames"


def _exact(fps: float) -> Fraction:
    if not math.isfinite(fps) or fps <= 0:
        raise ValueError(f"a frame rate of {fps}")
    return Fraction(fps).limit_denominator(1001)
