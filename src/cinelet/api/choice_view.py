"""Models in the order in which they would be tried, as clients see them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ChosenView(BaseModel):
    """A model that would be tried, and what is expected of it. Seconds."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str
    why: str
    """Why it has its place."""
    success: float | None
    """The probability that it makes the video."""
    seconds: float | None
    low: float | None
    high: float | None
    """Four out of five lie between these two."""
    cost: float | None
    samples: int
    """How many outcomes are known; older ones count less."""
    explored: bool
    """Whether it has its place to be known better. Each request is asked for anew, so the next one may differ."""


class LeftOutView(BaseModel):
    """A model that would not be tried."""

    model: str
    reason: str
