"""Which models are to make a video, in which order, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from cinelet.domain.backend import Capabilities
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Strategy, VideoRequest


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model in its place, and what is expected of it. why: one line.

    success: the probability. seconds: of a success, within low and high four times out of five; None where no video of
    it was timed. samples: how many outcomes are known, of which older ones count less. cost: None where nobody knows.
    explored: whether it is here to be known better.
    """

    model: ModelReference
    why: str
    success: float | None = None
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    cost: float | None = None
    samples: int = 0
    explored: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "model": str(self.model),
            "why": self.why,
            "success": _rounded(self.success, 3),
            "seconds": _rounded(self.seconds, 2),
            "low": _rounded(self.low, 2),
            "high": _rounded(self.high, 2),
            "cost": self.cost,
            "samples": self.samples,
            "explored": self.explored,
        }


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A model that is not tried, and why."""

    model: ModelReference
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The models that are tried, in their order, and those that are not."""

    strategy: Strategy
    order: tuple[Chosen, ...]
    left_out: tuple[LeftOut, ...] = ()

    def summary(self) -> str:
        """Return it in one line, the models behind the first by name."""
        first, *others = self.order
        parts = [first.why]
        if others:
            parts.append(f"then {', '.join(str(other.model) for other in others)}")
        if self.left_out:
            parts.append("left out " + ", ".join(f"{one.model} ({one.reason})" for one in self.left_out))
        return "; ".join(parts)


@runtime_checkable
class Selects(Protocol):
    """A backend that chooses among several models, and can say beforehand what it would choose."""

    async def select(self, request: VideoRequest) -> Selection:
        """Return what would be tried for a request whose `model` is set. Sends nothing that costs, loads nothing.

        Raises `NoModelFitsError` where nothing fits.
        """
        ...

    def chooses(self, request: VideoRequest) -> bool:
        """Tell whether a request leaves anything to choose."""
        ...

    async def known_capabilities(self, model: ModelReference) -> Capabilities | None:
        """Return what a model can do, as it was told lately or is told soon; None where nobody knows."""
        ...

    def learn_from(self, knowledge: object) -> None:
        """Have what is known of models come from there; `resilience/knowledge.py` says what it is."""
        ...


async def selected(backend: object, request: VideoRequest) -> Selection | None:
    """Return what a backend would try for a request whose `model` is set; None where it chooses nothing."""
    return await backend.select(request) if isinstance(backend, Selects) else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
