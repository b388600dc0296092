"""The small model inside the package: its weights, and where they are. `training/` made them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["directory"]


def directory() -> Path:
    """Return the folder of the weights, in standard diffusers format."""
    return Path(__file__).parent / "weights"
