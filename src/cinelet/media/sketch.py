"""Draw the pictures of a video while it is measured. Runs inside `sandbox`, so it imports next to nothing of ours."""

from __future__ import annotations

import base64
from collections.abc import Callable
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt

from cinelet.domain.preview import SPRITESHEET, THUMBNAIL, THUMBNAIL_JPEG, PreviewLayout, cell_frames
from cinelet.media.measurement import measure

BETTER = 1.1
"""How much more contrast a later frame needs to stand for the video: the first good one is where a player begins."""

_BT709 = 1
_UNSPECIFIED = 2
_HD_LINES = 576
"""Above so many lines players take colours that say nothing of themselves for BT.709, below for BT.601."""
_WEBP = {"quality": "75", "compression_level": "1"}
"""A fifth larger than at the encoder's own level, in a third of the time."""
_JPEG = {"flags": "+qscale", "global_quality": str(118 * 4)}

Pixels = npt.NDArray[np.uint8]


def measure_and_draw(order: dict[str, Any]) -> dict[str, Any]:
    """Return what `measure` does as `facts`, and as `previews` the pictures in base64 by their names.

    Instead of pictures: why there are none, or None where `order["previews"]` does not want them.
    """
    if not order["previews"]:
        return {"facts": measure(order), "previews": None}
    sketch = Sketch(frames=0)

    def begin(frames: int) -> Callable[[av.VideoFrame], None]:
        nonlocal sketch
        sketch = Sketch(frames=frames)
        return sketch.add

    facts = measure(order, watch=begin)
    if sketch.frames != facts["frames"]:
        # The header was wrong about their number, or did not say it.
        measure(order, watch=lambda _: begin(facts["frames"]))
    try:
        drawn = {name: base64.b64encode(content).decode() for name, content in sketch.files().items()}
    except Exception as failure:  # noqa: BLE001  (whatever it is, the video is measured)
        return {"facts": facts, "previews": f"{type(failure).__name__}: {failure}"}
    return {"facts": facts, "previews": drawn}


class Sketch:
    """Takes each frame of a video in turn, and keeps what its pictures need. frames: how many are to come."""

    def __init__(self, *, frames: int) -> None:
        self.frames = frames
        self.failure: Exception | None = None
        """Why there will be no pictures."""
        self._seen = 0
        self._wanted = frozenset(cell_frames(frames))
        self._layout: PreviewLayout | None = None
        self._cells: list[Pixels] = []
        self._best: av.VideoFrame | None = None
        self._best_contrast = 0.0

    def add(self, frame: av.VideoFrame) -> None:
        """Look at the next frame."""
        if self._seen in self._wanted and self.failure is None:
            try:
                self._take(frame)
            except Exception as failure:  # noqa: BLE001  (as above)
                self.failure = failure
        self._seen += 1

    def files(self) -> dict[str, bytes]:
        """Return the pictures by their names, after the last frame."""
        if self.failure is not None:
            raise self.failure
        if self._layout is None or self._best is None:
            raise ValueError("there is no frame")
        thumbnail = _scaled(self._best, self._layout.thumbnail)
        return {
            THUMBNAIL: _encoded(thumbnail, "libwebp", "bgra", _WEBP),
            THUMBNAIL_JPEG: _encoded(thumbnail, "mjpeg", "yuvj420p", _JPEG),
            SPRITESHEET: _encoded(self._sheet(self._layout), "libwebp", "bgra", _WEBP),
        }

    def _take(self, frame: av.VideoFrame) -> None:
        if self._layout is None:
            # The first frame's size is the video's, also where later ones have another.
            width, height = (frame.height, frame.width) if _quarter_turns(frame) % 2 else (frame.width, frame.height)
            self._layout = PreviewLayout.of(width=width, height=height, frames=self.frames, seconds=0)
        cell = _scaled(frame, self._layout.cell)
        self._cells.append(cell)
        contrast = float(cell[::4, ::4].std(axis=(0, 1)).sum())
        if self._best is None or contrast > BETTER * self._best_contrast + 1:
            self._best, self._best_contrast = frame, contrast

    def _sheet(self, layout: PreviewLayout) -> Pixels:
        width, height = layout.cell
        sheet = np.zeros((layout.rows * height, layout.columns * width, 3), np.uint8)
        for number, cell in enumerate(self._cells):
            top, left = number // layout.columns * height, number % layout.columns * width
            sheet[top : top + height, left : left + width] = cell
        return sheet


def _scaled(frame: av.VideoFrame, size: tuple[int, int]) -> Pixels:
    """Return a frame as a player shows it, of this width and height: RGB, turned upright."""
    turns = _quarter_turns(frame)
    width, height = size[::-1] if turns % 2 else size
    untagged_hd = frame.colorspace == _UNSPECIFIED and frame.height > _HD_LINES
    scaled = frame.reformat(
        width,
        height,
        format="rgb24",
        src_colorspace=_BT709 if untagged_hd else None,
        # Each pixel is the mean of those that it stands for, and costs half of what finer methods cost.
        interpolation="AREA",
        threads=1,
    )
    return np.ascontiguousarray(np.rot90(scaled.to_ndarray(), turns))


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Return how often a frame is turned by 90 degrees, counter-clockwise, to be shown."""
    return round(frame.rotation / 90) % 4


def _encoded(pixels: Pixels, codec: str, pixel_format: str, options: dict[str, str]) -> bytes:
    height, width, _ = pixels.shape
    encoder = cast("av.VideoCodecContext", av.CodecContext.create(codec, "w"))
    encoder.width, encoder.height, encoder.pix_fmt = width, height, pixel_format
    encoder.time_base = Fraction(1)
    encoder.options = options
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pixel_format, threads=1)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
