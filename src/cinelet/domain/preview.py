"""Pictures of a video: one that stands for it, and one that shows all of it at a glance.

How they are laid out follows from the facts of the video alone, so whoever knows those knows where each picture is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

THUMBNAIL_SIDE_PIXELS = 480
CELL_SIDE_PIXELS = 160
"""Of the longest side, at most: nothing is made larger than it is."""
MAX_CELLS = 25
COLUMNS = 5
THUMBNAIL, THUMBNAIL_JPEG, SPRITESHEET = "thumbnail.webp", "thumbnail.jpg", "spritesheet.webp"
FILES = (THUMBNAIL, THUMBNAIL_JPEG, SPRITESHEET)


@dataclass(frozen=True, slots=True)
class PreviewLayout:
    """How the pictures of a video are laid out. thumbnail, cell: width and height in pixels.

    The spritesheet shows `cells` frames in rows from left to right; cell i shows the video at i * `interval_seconds`.
    """

    thumbnail: tuple[int, int]
    cell: tuple[int, int]
    cells: int
    interval_seconds: float

    @classmethod
    def of(cls, *, width: int, height: int, frames: int, seconds: float) -> PreviewLayout:
        """Return the layout for a video of so many pixels, frames and seconds."""
        cells = min(MAX_CELLS, frames)
        return cls(
            thumbnail=_within(width, height, THUMBNAIL_SIDE_PIXELS),
            cell=_within(width, height, CELL_SIDE_PIXELS),
            cells=cells,
            interval_seconds=seconds / cells,
        )

    @property
    def columns(self) -> int:
        """How many cells a row has."""
        return min(COLUMNS, self.cells)

    @property
    def rows(self) -> int:
        """How many rows there are; the last may have room left, which is black."""
        return math.ceil(self.cells / COLUMNS)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the facts of both pictures as JSON values."""
        return {
            "thumbnail": {"width": self.thumbnail[0], "height": self.thumbnail[1]},
            "spritesheet": {
                "columns": self.columns,
                "rows": self.rows,
                "frames": self.cells,
                "cell_width": self.cell[0],
                "cell_height": self.cell[1],
                "interval_seconds": round(self.interval_seconds, 6),
            },
        }


def cell_frames(frames: int) -> list[int]:
    """Return which frames of a video of so many are in its spritesheet, counted from 0."""
    cells = min(MAX_CELLS, frames)
    return [cell * frames // cells for cell in range(cells)]


def _within(width: int, height: int, side_pixels: int) -> tuple[int, int]:
    scale = min(1.0, side_pixels / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
