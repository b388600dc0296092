"""Images that are given to a model: opened with suspicion, fitted to its size without distortion."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from cinelet.domain.errors import ValidationError
from cinelet.domain.request import ImageFit
from cinelet.domain.result import Adjustment
from cinelet.media.signature import HEAD_BYTES, describe, kind_of

_DECODERS: dict[str, type[ImageFile]] = {
    "PNG image": PngImageFile,
    "JPEG image": JpegImageFile,
    "WebP image": WebPImageFile,
}
"""Called directly: `Image.open` may guess a format that we do not allow, and warns at a size that is not our limit."""

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, OverflowError, struct.error, zlib.error)
"""What Pillow raises for a file that is damaged or cut off."""

_OPAQUE = 255


def open_image(data: bytes, *, max_pixels: int = 50_000_000) -> Image.Image:
    """Return the picture alone of what `decode_image` gives."""
    return decode_image(data, max_pixels=max_pixels)[0]


def decode_image(data: bytes, *, max_pixels: int = 50_000_000) -> tuple[Image.Image, tuple[Adjustment, ...]]:
    """Decode a PNG, JPEG or WebP file to RGB, upright as its EXIF orientation says; return what was lost as well.

    Transparency is laid on white and of an animation the first frame is taken, both reported; 16 bits become 8, and a
    colour profile is ignored. The size is checked against `max_pixels` before any pixel is decoded.
    Raises `ValidationError` (details "image") for anything else; the message says what came instead.
    """
    kind = kind_of(data[:HEAD_BYTES])
    if kind not in _DECODERS:
        raise _refused(f"it is {describe(data[:HEAD_BYTES], quote=False)}; give a PNG, JPEG or WebP file")
    try:
        with _DECODERS[kind](BytesIO(data)) as image:
            if image.width * image.height > max_pixels:
                raise _refused(f"it has {image.width}x{image.height} pixels; at most {max_pixels:,} pixels are allowed")
            image.load()
            frames = getattr(image, "n_frames", 1)
            picture, transparent = _on_white(_upright(image))
            return picture, tuple(_losses(frames, transparent=transparent))
    except Image.DecompressionBombError as error:
        raise _refused(f"it has more than the allowed {max_pixels:,} pixels") from error
    except _BROKEN as error:
        raise _refused(f"the {kind.removesuffix(' image')} file is damaged or cut off ({error})") from error


def fit_image(image: Image.Image, *, width: int, height: int, fit: ImageFit) -> tuple[Image.Image, Adjustment | None]:
    """Return the image at exactly `width` x `height` pixels, and what was done to it (None if nothing was).

    "crop" fills the size and cuts off what lies outside, the same on both sides; "pad" shows the whole image, centred
    on black. Both scale alike in width and height (Lanczos), to the nearest pixel.
    """
    if image.size == (width, height):
        return image, None
    if fit == "crop":
        fitted, how = _cropped(image, width=width, height=height)
    else:
        fitted, how = _padded(image, width=width, height=height)
    return fitted, Adjustment("image", f"{image.width}x{image.height}", f"{width}x{height}", how)


def _cropped(image: Image.Image, *, width: int, height: int) -> tuple[Image.Image, str]:
    scale = max(width / image.width, height / image.height)
    seen_width = min(image.width, width / scale)
    seen_height = min(image.height, height / scale)
    left, top = (image.width - seen_width) / 2, (image.height - seen_height) / 2
    # A fractional box: rounding it to whole pixels first would distort small images.
    box = (left, top, left + seen_width, top + seen_height)
    fitted = image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    cut, side = max((left / image.width, "left and right"), (top / image.height, "above and below"))
    how = f"scaled to {scale:.3g} times its size"
    return fitted, f"{how}, {cut:.1%} cut off {side} each" if cut >= 0.0005 else how


def _padded(image: Image.Image, *, width: int, height: int) -> tuple[Image.Image, str]:
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    how = f"scaled to {scale:.3g} times its size"
    scaled = image.resize(inner, Image.Resampling.LANCZOS)
    if scaled.size == (width, height):
        return scaled, how
    fitted = Image.new(image.mode, (width, height))
    fitted.paste(scaled, (left, top))
    bars = f"{left} black columns left and right" if left > top else f"{top} black rows above and below"
    return fitted, f"{how}, about {bars}"


def _upright(image: Image.Image) -> Image.Image:
    # A picture whose EXIF block is broken is shown as it is stored, as browsers do. (Pillow warns of it.)
    with contextlib.suppress(*_BROKEN, KeyError, TypeError, UserWarning):
        return ImageOps.exif_transpose(image)
    return image


def _on_white(image: Image.Image) -> tuple[Image.Image, bool]:
    """Return a picture without transparency, and whether any of it could be seen through."""
    if image.mode == "I;16":
        image = _eight_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB"), False
    with_alpha = image.convert("RGBA")
    page = Image.new("RGB", image.size, "white")
    page.paste(with_alpha, mask=with_alpha)
    return page, with_alpha.getchannel("A").getextrema()[0] != _OPAQUE


def _losses(frames: int, *, transparent: bool) -> Iterator[Adjustment]:
    if frames > 1:
        yield Adjustment("image", f"{frames} frames", "1 frame", "of an animation the first frame is taken")
    if transparent:
        yield Adjustment("image", "transparent", "opaque", "what can be seen through is laid on white")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return 16-bit grey as 8-bit grey; Pillow's own conversion clips at 255 rather than scales."""
    values = np.asarray(image)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _refused(why: str) -> ValidationError:
    return ValidationError(f"The image cannot be used: {why}", {"image": why})
