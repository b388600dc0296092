"""The picture that a video begins with, as a host takes it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO

from cinelet.domain.errors import ValidationError
from cinelet.domain.request import VideoRequest
from cinelet.domain.result import Adjustment
from cinelet.media.image import decode_image, fit_image
from cinelet.media.signature import HEAD_BYTES, IMAGE_TYPES, describe, kind_of

_SIDES_PIXELS = (1280, 960, 720, 512, 384, 256)
_QUALITIES = (85, 70, 50)


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture and its media type."""

    data: bytes
    media_type: str

    @property
    def prefix(self) -> str:
        """What stands before the base64 text of a data URI."""
        return f"data:{self.media_type};base64,"

    @property
    def uri_characters(self) -> int:
        """How long the data URI is."""
        return len(self.prefix) + 4 * math.ceil(len(self.data) / 3)


def picture_of(
    request: VideoRequest, *, size: tuple[int, int] | None, max_characters: int | None
) -> tuple[Picture, tuple[Adjustment, ...]]:
    """Return the request's picture at `size` (None: as it is), within `max_characters` as a data URI; takes a while.

    A picture that is right already is sent byte for byte. Raises `ValidationError` for one that nobody could use.
    """
    data = request.image or b""
    head = data[:HEAD_BYTES]
    media_type = IMAGE_TYPES.get(kind_of(head) or "")
    if media_type is None:
        message = f"The image cannot be used: it is {describe(head, quote=False)}; give a PNG, JPEG or WebP file"
        raise ValidationError(message, {"image": "Not a PNG, JPEG or WebP file"})
    picture = Picture(data, media_type)
    adjustments: list[Adjustment] = []
    if size is not None:
        picture, adjustments = _fitted(picture, request, size)
    elif request.image_fit != "crop":
        reason = "only a picture that is brought to a size is cropped or padded, and no size applies here"
        adjustments.append(Adjustment("image_fit", request.image_fit, None, reason))
    if max_characters is not None and picture.uri_characters > max_characters:
        smaller, lost = _smaller(picture, max_characters)
        reason = f"the host takes pictures of at most {max_characters:,} characters"
        size_change = Adjustment("image", f"{len(picture.data):,} bytes", f"{len(smaller.data):,} bytes", reason)
        adjustments += [*lost, size_change]
        picture = smaller
    return picture, tuple(adjustments)


def _fitted(picture: Picture, request: VideoRequest, size: tuple[int, int]) -> tuple[Picture, list[Adjustment]]:
    width, height = size
    opened, lost = decode_image(picture.data)
    image, adjustment = fit_image(opened, width=width, height=height, fit=request.image_fit)
    if adjustment is None:
        return picture, []
    fitted = BytesIO()
    image.save(fitted, "PNG", compress_level=1)
    return Picture(fitted.getvalue(), "image/png"), [*lost, adjustment]


def _smaller(picture: Picture, max_characters: int) -> tuple[Picture, tuple[Adjustment, ...]]:
    """Return the picture as a JPEG that is small enough: first of less quality, then of fewer pixels."""
    image, lost = decode_image(picture.data)
    for side in _SIDES_PIXELS:
        scaled = image.copy()
        scaled.thumbnail((side, side))
        for quality in _QUALITIES:
            written = BytesIO()
            scaled.save(written, "JPEG", quality=quality, optimize=True)
            smaller = Picture(written.getvalue(), "image/jpeg")
            if smaller.uri_characters <= max_characters:
                return smaller, lost
    message = f"The image cannot be made small enough for the host, which takes {max_characters:,} characters"
    raise ValidationError(f"{message}; give a simpler or smaller one", {"image": "Too large for this host"})
