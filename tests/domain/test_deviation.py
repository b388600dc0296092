"""What a file differs in from what was asked for."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from cinelet.domain.backend import GeneratedVideo
from cinelet.domain.deviation import deviations
from cinelet.domain.request import Task, VideoRequest
from cinelet.domain.result import VideoFacts


@pytest.mark.parametrize(
    ("duration", "fps", "frames", "told"),
    [(1.5, 1, 2, [2.0]), (1.3, 2, 3, [1.5]), (6.05, 8, 48, []), (6, 8, 49, []), (6, 8, 50, [6.25]), (3, 1, 3, [])],
)
def test_a_clip_of_whole_frames_that_lasts_longer_or_shorter_is_told(
    tmp_path: Path, duration: float, fps: int, frames: int, told: list[float]
) -> None:
    request = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="a", duration=duration, fps=fps)
    facts = VideoFacts(64, 48, Fraction(fps), frames, frames / fps, "h264", "mp4", has_audio=False, size=1, sha256="")
    found = deviations(request, GeneratedVideo(tmp_path / "video.mp4", "fake:x"), facts)
    assert [(change.parameter, change.applied) for change in found] == [("duration", applied) for applied in told]
