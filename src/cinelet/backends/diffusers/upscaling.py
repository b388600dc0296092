"""A clip made anew at a larger size, by a second model that starts from the first one's frames."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from cinelet.backends.diffusers.arguments import find_class
from cinelet.backends.diffusers.families import Family, family_of
from cinelet.backends.diffusers.model_folder import ModelFolder
from cinelet.backends.diffusers.plan import Model, Plan, Window, make_plan
from cinelet.backends.diffusers.session import Job, Outcome, Session
from cinelet.backends.diffusers.speed import Speed
from cinelet.domain.backend import Context
from cinelet.domain.errors import ModelUnsupportedError
from cinelet.domain.request import MIN_SIDE_PIXELS, Task, VideoRequest
from cinelet.domain.result import Adjustment

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIMES = 2
"""How much longer the sides become."""

FIRST_SHARE = 0.3
"""Of the progress, for the first model: it makes a quarter of the pixels, the other one not all of its steps."""

_OF_BOTH = frozenset({"prompt", "negative_prompt", "guidance_scale", "num_inference_steps"})
"""The parameters that the second model gets as well."""

BuildModel = Callable[[ModelFolder, dict[Task, type], Task], Model]


@dataclass(frozen=True, slots=True)
class Upscaler:
    """A model as one that makes given clips anew. pipeline_class: that does so with its weights."""

    folder: ModelFolder
    family: Family
    pipeline_class: type
    model: Model

    def smaller(self, request: VideoRequest) -> VideoRequest:
        """Return the request for the first model: half the size, if one is asked; else it chooses its own."""
        if request.width is None or request.height is None:
            return request
        sides = {
            name: max(MIN_SIDE_PIXELS, math.ceil(side / TIMES))
            for name, side in (("width", request.width), ("height", request.height))
        }
        return request.model_copy(update=sides)

    def upscaled(
        self, request: VideoRequest, plan: Plan, first: Outcome, context: Context, session: Session, *, speed: Speed
    ) -> Outcome:
        """Return what the second model makes of the first one's clip. plan, speed: that the first one had."""
        began = time.monotonic()
        height, width = first.frames.shape[1:3]
        asked = (request.width or TIMES * width, request.height or TIMES * height)
        size, resized = self.model.grid.size_rule.adjusted(*asked)
        mine = self._plan(request, plan, size)
        pieces = list(self._pieces(first.frames))
        clips = []
        applied: dict[str, Any] = {}
        changes = [*resized, *(change for change in mine.adjustments if change.parameter in _OF_BOTH)]
        for number, (piece, kept) in enumerate(pieces):
            share = context.share(number / len(pieces), (number + 1) / len(pieces), note="upscaling")
            outcome = session.run(self._job(mine, piece, size, share, speed=speed))
            clips.append(outcome.frames[:kept])
            applied |= {name: value for name, value in outcome.applied.items() if name != "speed"}
            changes += outcome.adjustments
        if len(pieces) > 1:
            reason = f"the upscaler takes at most {len(pieces[0][0])} frames at once; {len(pieces)} pieces are joined"
            changes.append(Adjustment("upscaler", request.upscaler, request.upscaler, reason))
        told = {(change.parameter, change.reason) for change in first.adjustments + plan.adjustments}
        return Outcome(
            np.concatenate(clips),
            timings={**first.timings, "upscaling": time.monotonic() - began},
            applied={
                **first.applied,
                **applied,
                "width": size[0],
                "height": size[1],
                "upscaler": self.folder.reference,
                "upscaled_from": f"{width}x{height}",
                "upscaling_strength": self.family.strength,
            },
            adjustments=(*first.adjustments, *(c for c in changes if (c.parameter, c.reason) not in told)),
        )

    def _plan(self, request: VideoRequest, first: Plan, size: tuple[int, int]) -> Plan:
        """Plan as for a text, with the prompt and seed of the first; what is about time is the first one's."""
        fields = {"task": Task.TEXT_TO_VIDEO, "image": None, "width": size[0], "height": size[1], "seed": first.seed}
        plan = make_plan(request.model_copy(update=fields), self.model)
        strength = self.family.strength
        # So many steps are made of those that are asked: at least one must be.
        steps = max(plan.steps or 0, math.ceil(1 / strength))
        return replace(
            plan,
            arguments={**plan.arguments, "strength": strength, "num_inference_steps": steps},
            frame_argument="",
            size=size,
            steps=steps,
        )

    def _job(
        self, plan: Plan, piece: NDArray[np.uint8], size: tuple[int, int], context: Context, *, speed: Speed
    ) -> Job:
        pictures = [Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS) for frame in piece]
        whole = replace(plan, arguments={**plan.arguments, "video": pictures}, windows=(Window(len(pictures)),))
        classes = {Task.TEXT_TO_VIDEO: self.pipeline_class}
        # Few steps, of which none stands for another.
        plainer = replace(speed, step_cache=None, quantization=None, insisted=frozenset(), declined=(), asked=False)
        return Job(whole, self.folder, self.family, classes, context, plainer)

    def _pieces(self, frames: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.uint8], int]]:
        """Cut a clip into what the model takes at once, the last frame repeated where its rule wants more.

        Yields each piece with how many of its frames count.
        """
        rule = self.model.grid.frames
        most = rule.at_least(len(frames))
        for begin in range(0, len(frames), most):
            piece = frames[begin : begin + most]
            missing = rule.at_least(len(piece)) - len(piece)
            yield np.concatenate([piece, *[piece[-1:]] * missing]), len(piece)


def as_upscaler(folder: ModelFolder, build: BuildModel) -> Upscaler:
    """Return a model as an upscaler. Raises `ModelUnsupportedError` for one that makes no given clip anew."""
    family = family_of(folder.class_name)
    if family.video_class is None:
        message = f"{folder.reference} is no upscaler: {folder.class_name} makes no given clip anew"
        raise ModelUnsupportedError(
            f"{message}; use a model such as zeroscope, Wan, CogVideoX or AnimateDiff of texts", folder.reference
        )
    pipeline_class = find_class(family.video_class, folder.reference)
    model = build(folder, {Task.TEXT_TO_VIDEO: pipeline_class}, Task.TEXT_TO_VIDEO)
    return Upscaler(folder, family, pipeline_class, model)
