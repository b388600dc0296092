"""What a model will change of a request, as far as that is known without loading it."""

from __future__ import annotations

from collections.abc import Iterator

from cinelet.domain.backend import Capabilities
from cinelet.domain.request import VideoRequest
from cinelet.domain.result import Adjustment

_PARAMETERS = ("negative_prompt", "num_inference_steps", "guidance_scale", "seed", "lora", "upscaler")


def foreseen(request: VideoRequest, capabilities: Capabilities) -> tuple[Adjustment, ...]:
    """Return the adjustments to expect. What nobody knows of the model is not among them."""
    return tuple(_foreseen(request, capabilities))


def _foreseen(request: VideoRequest, known: Capabilities) -> Iterator[Adjustment]:
    given = request.model_dump(mode="json", include={*_PARAMETERS}, exclude_defaults=True)
    for name, value in given.items():
        if known.parameters and name not in known.parameters:
            yield Adjustment(name, value, None, "the model has no such parameter")
    if request.width and request.height and not request.upscaler:  # which makes sizes of its own
        yield from _of_size(request.width, request.height, known)
    if known.native_fps and known.native_fps != request.fps:
        reason = f"the model makes {known.native_fps:g} frames a second; frames are repeated or left out"
        whole = known.native_fps == int(known.native_fps)
        yield Adjustment("fps", request.fps, int(known.native_fps) if whole else known.native_fps, reason)
    most = known.frame_rule.maximum if known.frame_rule else None
    fps = known.native_fps or request.fps
    if most is not None and request.duration * fps > most:
        reason = (
            f"the model makes {most} frames in one run, {most / fps:.3g} s; the clip is joined from several, or slowed"
        )
        yield Adjustment("duration", request.duration, request.duration, reason)


def _of_size(width: int, height: int, known: Capabilities) -> Iterator[Adjustment]:
    asked = f"{width}x{height}"
    if known.parameters and not {"width", "height"} <= known.parameters:
        yield Adjustment("size", asked, None, "the model chooses the size by itself")
    elif known.size_rule is not None:
        yield from known.size_rule.adjusted(width, height)[1]
    elif known.size_multiple and (width % known.size_multiple or height % known.size_multiple):
        # Some make only a few sizes, which is not known here.
        reason = f"the model makes sides in steps of {known.size_multiple}"
        yield Adjustment("size", asked, "the nearest that it can make", reason)
