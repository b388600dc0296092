"""Duration and rate: a model makes frames at its own rate; the clip lasts as long as was asked, at the rate asked."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy.typing as npt

from cinelet.domain.errors import ProcessingError
from cinelet.domain.result import Adjustment


def frames_needed(duration: float, fps: Fraction | float) -> int:
    """Return how many frames last `duration` seconds at `fps`: the nearest count, halves up, at least one."""
    return max(1, int(Fraction(duration) * _exact(fps) + Fraction(1, 2)))


def retime(
    frames: npt.NDArray[Any], *, native_fps: Fraction | float, fps: Fraction | float, duration: float
) -> tuple[npt.NDArray[Any], tuple[Adjustment, ...]]:
    """Return the frames [T, H, W, 3] that a clip of `duration` seconds shows at `fps`, and what that changed.

    frames: made at `native_fps`. Each shown frame is the latest one made by its time, never a blend of two. Frames
    after the end are cut off. Too few frames for the duration are spread over it: the clip is slowed, and says so.
    Frames that fit as they are come back as they are; a cut at the end alone is a view. Raises `ProcessingError`
    (stage "encoding") if there are no frames.
    """
    made = len(frames)
    if not made:
        raise ProcessingError("The model made no frames", "encoding")
    native, shown = _exact(native_fps), _exact(fps)
    count = frames_needed(duration, fps)
    adjustments = []
    if native != shown:
        adjustments.append(
            Adjustment(
                "fps",
                _plain(shown),
                _plain(native),
                f"the model makes {float(native):g} frames a second; "
                f"frames were {'repeated' if native < shown else 'left out'} to show {float(shown):g}",
            )
        )
    step = native / shown
    if int((count - 1) * step) >= made:
        step = Fraction(made, count)
        length_seconds = float(made / native)
        adjustments.append(
            Adjustment(
                "duration",
                duration,
                round(length_seconds, 3),
                f"the model made {made} frames, which last {length_seconds:.3g} s at its {float(native):g} a second; "
                f"the clip is slowed to {float(step * shown / native):.2g} of its speed to last {duration:g} s",
            )
        )
    if step == 1:
        return (frames if made == count else frames[:count]), tuple(adjustments)
    return frames[[int(index * step) for index in range(count)]], tuple(adjustments)


def _exact(fps: Fraction | float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)


def _plain(fps: Fraction) -> float:
    """Return a rate as a JSON number, whole where it is."""
    return int(fps) if fps.denominator == 1 else float(fps)
