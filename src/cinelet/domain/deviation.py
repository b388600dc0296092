"""What a finished file differs in from what was asked for, where its backend did not say so."""

from __future__ import annotations

from cinelet.domain.backend import GeneratedVideo
from cinelet.domain.request import VideoRequest
from cinelet.domain.result import Adjustment, VideoFacts

UNTOLD_SECONDS = 0.125
"""How much longer or shorter a clip of whole frames may be without a word; a frame at the default rate."""


def deviations(request: VideoRequest, video: GeneratedVideo, facts: VideoFacts) -> list[Adjustment]:
    """List what differs in the file from what was asked, and was not reported by the backend."""
    reported = {adjustment.parameter for adjustment in video.adjustments}
    reason = "measured from the file that the model made"
    untold_seconds = min(1 / float(facts.fps), UNTOLD_SECONDS)
    found: list[Adjustment] = []
    if "fps" not in reported and facts.fps != request.fps:
        found.append(Adjustment("fps", request.fps, round(float(facts.fps), 3), reason))
    if "duration" not in reported and abs(facts.duration - request.duration) > untold_seconds:
        found.append(Adjustment("duration", request.duration, round(facts.duration, 3), reason))
    for side, measured in (("width", facts.width), ("height", facts.height)):
        wanted = getattr(request, side)
        if wanted is not None and wanted != measured and not reported & {side, "size"}:
            found.append(Adjustment(side, wanted, measured, reason))
    return found
