"""What became of a request. What was asked, what was applied, and what was changed are three different fields."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A parameter that was changed or ignored, and why. `applied` is None where the parameter had no effect."""

    parameter: str
    requested: Any
    applied: Any
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the adjustment as JSON values."""
        return {
            "parameter": self.parameter,
            "requested": self.requested,
            "applied": self.applied,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What was measured from a video file. width, height: pixels; duration: seconds; size: bytes."""

    width: int
    height: int
    fps: Fraction
    frames: int
    duration: float
    codec: str
    container: str
    has_audio: bool
    size: int
    sha256: str

    @property
    def resolution(self) -> str:
        """Width and height as "WIDTHxHEIGHT"."""
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one model. `seconds` is its wall time; `error` is None where it succeeded.

    provider: who ran it, where that is not this machine. request_id: the provider's name for it. cost: in the price
    table's currency, None where nobody knows. may_be_billed: it failed after its host had or may have taken the work.
    why: it was tried in its place, where there was a choice. telling: whether its end says something about the model,
    and not only about the request, the caller or us.
    """

    model: str
    seconds: float
    error: dict[str, Any] | None = None
    provider: str | None = None
    request_id: str | None = None
    cost: float | None = None
    may_be_billed: bool = False
    why: str | None = None
    telling: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return the attempt as JSON values."""
        return {
            "model": self.model,
            "seconds": round(self.seconds, 3),
            "error": self.error,
            "provider": self.provider,
            "request_id": self.request_id,
            "why": self.why,
            "cost": self.cost,
            "may_be_billed": self.may_be_billed,
        }
