"""What a request becomes at a host: parameters under the host's names, and an adjustment for whatever is lost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

from cinelet.backends.huggingface.families import Family, Number, Sides, Sizes, Tiers
from cinelet.domain.request import POLICY_FIELDS, Task, VideoRequest
from cinelet.domain.result import Adjustment

_DEFAULT_CODEC, _DEFAULT_PRESET = "h264", "medium"


@dataclass(frozen=True, slots=True)
class Plan:
    """parameters: as the host is sent them, beside prompt and picture. size: of the picture, where one applies."""

    parameters: Mapping[str, Any]
    adjustments: tuple[Adjustment, ...]
    seed: int | None
    size: tuple[int, int] | None


def honoured(family: Family, task: Task) -> frozenset[str]:
    """Return the fields of a request that have an effect."""
    effects = {
        "prompt": True,
        "image": task is Task.IMAGE_TO_VIDEO,
        "image_fit": task is Task.IMAGE_TO_VIDEO and family.size is not None,
        "duration": family.frames or family.seconds,
        "fps": family.fps,
        "num_inference_steps": family.steps,
        "guidance_scale": family.guidance,
        "seed": family.seed,
        "negative_prompt": family.negative_prompt,
        "width": family.size,
        "height": family.size,
    }
    return frozenset(name for name, effect in effects.items() if effect) - POLICY_FIELDS


def make_plan(request: VideoRequest, family: Family, *, host: str, seed: int) -> Plan:
    """Translate a request. host: as messages name it. seed: used where the request has none and the host takes one."""
    draft = _Draft(host)
    draft.timing(request, family)
    draft.number("num_inference_steps", request.num_inference_steps, family.steps)
    draft.number("guidance_scale", request.guidance_scale, family.guidance)
    draft.text("negative_prompt", request.negative_prompt, family.negative_prompt)
    used_seed = (seed if request.seed is None else request.seed) if family.seed else None
    draft.text("seed", request.seed if used_seed is None else used_seed, family.seed)
    size = None
    if request.width is not None and request.height is not None:
        size = draft.size((request.width, request.height), family.size)
    draft.encoding(request)
    return Plan(draft.parameters, tuple(draft.adjustments), used_seed, size)


@dataclass(slots=True)
class _Draft:
    host: str
    parameters: dict[str, Any] = field(default_factory=dict)
    adjustments: list[Adjustment] = field(default_factory=list)

    def adjust(self, parameter: str, requested: Any, applied: Any, reason: str) -> None:
        self.adjustments.append(Adjustment(parameter, requested, applied, reason))

    def send(self, number: Number, value: float) -> None:
        self.parameters[number.name] = f"{value:g}" if number.as_text else value

    def text(self, parameter: str, value: Any, name: str | None) -> None:
        if value is None:
            return
        if name is None:
            self.adjust(parameter, value, None, f"{self.host} does not take it for this model")
        else:
            self.parameters[name] = value

    def number(self, parameter: str, value: float | None, number: Number | None) -> None:
        if value is None:
            return
        if number is None:
            self.adjust(parameter, value, None, f"{self.host} does not take it for this model")
            return
        near = _within(value, number)
        self.send(number, near)
        if near != value:
            self.adjust(parameter, value, near, f"{self.host} takes {_range(number)} for this model")

    def timing(self, request: VideoRequest, family: Family) -> None:
        """Ask for so many frames, or seconds, that the video lasts as long as it should."""
        fps: float = request.fps if family.native_fps is None else family.native_fps
        if family.fps is not None:
            fps = _within(request.fps, family.fps)
        if family.seconds is not None:
            self.seconds(request, family, family.seconds)
        elif family.frames is not None:
            fps = self.frames(request, family, family.frames, fps)
        else:
            self.adjust("duration", request.duration, None, f"{self.host} makes videos of one length with this model")
        self.rate(request, family, fps)

    def seconds(self, request: VideoRequest, family: Family, seconds: Number) -> None:
        wanted = request.duration
        value = min(family.second_choices or (math.floor(wanted + 0.5),), key=lambda choice: abs(choice - wanted))
        value = int(_within(value, seconds))
        self.send(seconds, value)
        if value != wanted:
            lengths = " or ".join(map(str, family.second_choices)) or "whole"
            self.adjust("duration", wanted, value, f"{self.host} takes {lengths} seconds for this model")

    def frames(self, request: VideoRequest, family: Family, frames: Number, fps: float) -> float:
        """Ask for frames and return the rate. Where a model makes no fewer, they are shown faster, not for longer."""
        wanted = max(1, round(request.duration * fps))
        rule = family.frame_rule
        if family.frame_choices:
            count = min(family.frame_choices, key=lambda choice: abs(choice - wanted))
        else:
            count = rule.at_least(wanted)
        if family.fps is not None and count - wanted >= rule.multiple:
            fps = _within(round(count / request.duration), family.fps)
        self.send(frames, count)
        if abs(count - request.duration * fps) > 1.001:  # one frame more is the rule's
            reason = f"{self.host} makes {_counts(family)} frames with this model"
            self.adjust("duration", request.duration, round(count / fps, 3), reason)
        return fps

    def rate(self, request: VideoRequest, family: Family, fps: float) -> None:
        if family.fps is not None:
            self.send(family.fps, int(fps))
            if fps != request.fps:
                why = f"{self.host} takes {_range(family.fps)} frames a second for this model"
                if _within(request.fps, family.fps) == request.fps:
                    why = f"{self.host} makes {_counts(family)} frames with this model; so they last as asked"
                self.adjust("fps", request.fps, int(fps), why)
        elif family.native_fps is None:
            self.adjust("fps", request.fps, None, f"{self.host} takes no frame rate for this model, which has its own")
        elif request.fps != family.native_fps:
            reason = f"{self.host} takes no frame rate for this model, which has its own"
            self.adjust("fps", request.fps, family.native_fps, reason)

    def size(self, asked: tuple[int, int], size: Sides | Sizes | Tiers | None) -> tuple[int, int] | None:
        """Ask for the nearest size, and return it in pixels where that is known."""
        shown = f"{asked[0]}x{asked[1]}"
        match size:
            case None:
                self.adjust("size", shown, None, f"{self.host} takes no size for this model")
                return None
            case Sides(multiple):
                width, height = (max(1, round(side / multiple)) * multiple for side in asked)
                self.parameters |= {"width": width, "height": height}
                reason = f"{self.host} makes multiples of {multiple} pixels with this model"
            case Sizes(sizes):
                width, height = min(sizes, key=lambda other: _distance(asked, other))
                self.parameters["size"] = f"{width}*{height}"
                reason = f"{self.host} makes {' or '.join(f'{w}x{h}' for w, h in sizes)} with this model"
            case Tiers():
                return self.tier(asked, size)
            case _:
                assert_never(size)
        if (width, height) != asked:
            self.adjust("size", shown, f"{width}x{height}", reason)
        return width, height

    def tier(self, asked: tuple[int, int], size: Tiers) -> tuple[int, int] | None:
        tier, wide = min(size.tiers, key=lambda named: abs(math.log(math.prod(named[1]) / math.prod(asked))))
        ratio = min(size.ratios, key=lambda named: abs(math.log(asked[0] / asked[1] / _ratio(named))))
        self.parameters |= {"resolution": tier, "aspect_ratio": ratio}
        exact = {"16:9": wide, "9:16": (wide[1], wide[0])}.get(ratio)
        if exact != asked:
            tiers, ratios = " or ".join(name for name, _ in size.tiers), " or ".join(size.ratios)
            reason = f"{self.host} makes {tiers} at {ratios} with this model"
            shown = f"{tier} {ratio}" if exact is None else f"{exact[0]}x{exact[1]}"
            self.adjust("size", f"{asked[0]}x{asked[1]}", shown, reason)
        return exact

    def encoding(self, request: VideoRequest) -> None:
        """Report an encoding that was chosen; what nobody chose is not worth a line in every result."""
        reason = f"{self.host} encodes the file; it is kept as it comes"
        if request.codec != _DEFAULT_CODEC:
            self.adjust("codec", request.codec, None, reason)
        if request.preset not in {None, _DEFAULT_PRESET}:
            self.adjust("preset", request.preset, None, reason)
        if request.quality is not None:
            self.adjust("quality", request.quality, None, f"{self.host} decides how it computes")


def _within(value: float, number: Number) -> float:
    near = min(max(value, number.low), number.high)
    return int(near) if isinstance(value, int) else near


def _range(number: Number) -> str:
    return f"at least {number.low:g}" if math.isinf(number.high) else f"{number.low:g} to {number.high:g}"


def _counts(family: Family) -> str:
    if family.frame_choices:
        return " or ".join(map(str, family.frame_choices))
    rule = family.frame_rule
    return f"at least {rule.minimum}" if rule.maximum is None else f"{rule.minimum} to {rule.maximum}"


def _distance(asked: tuple[int, int], other: tuple[int, int]) -> float:
    """Compare shapes before areas: a picture in landscape must not become one in portrait."""
    shape = abs(math.log(asked[0] / asked[1] * other[1] / other[0]))
    return 4 * shape + abs(math.log(math.prod(asked) / math.prod(other)))


def _ratio(text: str) -> float:
    width, _, height = text.partition(":")
    return int(width) / int(height)
