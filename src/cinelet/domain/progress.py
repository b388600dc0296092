"""How far a generation is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Stage(StrEnum):
    """What is being done now, in the order in which it happens. Not every generation has every stage."""

    QUEUED = "queued"
    DOWNLOADING = "downloading"
    LOADING = "loading"
    DENOISING = "denoising"
    DECODING = "decoding"
    ENCODING = "encoding"
    STORING = "storing"


@dataclass(frozen=True, slots=True)
class Progress:
    """One report.

    `fraction` is the whole generation's, 0 to 1, and only grows; `step` of `steps` counts within the stage (denoising
    steps, or bytes while downloading). `measured` is False where the fraction is a guess. `preview` is a small WebP
    picture of what the video is now, where there is a new one.
    """

    stage: Stage
    fraction: float
    step: int = 0
    steps: int = 0
    measured: bool = True
    note: str = ""
    preview: bytes | None = field(default=None, repr=False)
