"""The sizes that a model makes, and which of them comes nearest to another."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cinelet.domain.result import Adjustment

MAX_LISTED = 12
"""Sizes that a sentence names one by one."""


@dataclass(frozen=True, slots=True)
class SizeRule:
    """Pixels: what a side is a multiple of and the least one, or the only sizes (width, height) if they are few."""

    multiple: int = 1
    sizes: tuple[tuple[int, int], ...] = ()
    least: int = 0

    def nearest(self, width: int, height: int) -> tuple[int, int]:
        """Return the size nearest to the one asked that the model can make."""
        if self.sizes:
            return min(self.sizes, key=lambda size: abs(size[0] - width) + abs(size[1] - height))
        return self.nearest_side(width), self.nearest_side(height)

    def nearest_side(self, side: float) -> int:
        """Return the nearest length of a side, where sizes are not few."""
        return max(self.multiple, self.least, math.floor(side / self.multiple + 0.5) * self.multiple)

    def adjusted(self, width: int, height: int) -> tuple[tuple[int, int], tuple[Adjustment, ...]]:
        """Return the size for a request of `width` x `height`, and what was changed."""
        found = self.nearest(width, height)
        if found == (width, height):
            return found, ()
        reason = (
            f"the model makes {self._listed()} only"
            if self.sizes
            else f"the model's sizes are multiples of {self.multiple} pixels"
            + (f", at least {self.least}" if self.least else "")
        )
        return found, (Adjustment("size", f"{width}x{height}", f"{found[0]}x{found[1]}", reason),)

    def _listed(self) -> str:
        sizes = [f"{width}x{height}" for width, height in self.sizes]
        return ", ".join(sizes if len(sizes) <= MAX_LISTED else [*sizes[:2], "...", sizes[-1]])
