from __future__ import annotations

import random
import struct
import time
import tracemalloc
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cinelet.domain.errors import ValidationError
from cinelet.media.image import decode_image, fit_image, open_image

ORIENTATION = 0x112
FORMATS = ["PNG", "JPEG", "WebP"]


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def quarters() -> Image.Image:
    """Return 64x32: red, green above blue, white."""
    pixels = np.zeros((32, 64, 3), dtype=np.uint8)
    pixels[:16, :32], pixels[:16, 32:], pixels[16:, :32], pixels[16:, 32:] = RED, GREEN, BLUE, WHITE
    return Image.fromarray(pixels)


RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """Return the colours near the corners: left above, right above, left below, right below."""
    right, below = image.width - 3, image.height - 3
    return [image.getpixel(at) for at in ((2, 2), (right, 2), (2, below), (right, below))]  # type: ignore[misc]


def nearly(colours: list[tuple[int, ...]], expected: list[tuple[int, ...]], within: int = 12) -> bool:
    return bool(np.abs(np.array(colours, dtype=int) - np.array(expected)).max() <= within)


def refusal(data: bytes) -> str:
    """Return why an image is refused; everything that all refusals share is checked here."""
    with pytest.raises(ValidationError) as caught:
        open_image(data)
    message = str(caught.value)
    assert message.isprintable()
    why = message.removeprefix("The image cannot be used: ")
    assert caught.value.details == {"image": why}
    return why


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG file that claims a size and holds next to nothing."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def jpeg_of_size(width: int, height: int) -> bytes:
    content = bytearray(file_of(Image.new("RGB", (16, 16)), "JPEG"))
    frame_header = content.index(b"\xff\xc0")
    content[frame_header + 5 : frame_header + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def webp_of_size(width: int, height: int) -> bytes:
    moving = Image.new("RGB", (16, 16))
    still = file_of(moving, "WebP", save_all=True, append_images=[Image.new("RGB", (16, 16), "red")])
    content = bytearray(still)
    canvas = content.index(b"VP8X") + 12
    content[canvas : canvas + 6] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(content)


@pytest.mark.parametrize("kind", FORMATS)
def test_each_allowed_format_opens_with_its_colours(kind):
    every_option: dict[str, dict[str, object]] = {
        "PNG": {},
        "JPEG": {"quality": 95, "subsampling": 0},
        "WebP": {"lossless": True},
    }
    options = every_option[kind]
    image = open_image(file_of(quarters(), kind, **options))
    assert (image.mode, image.size) == ("RGB", (64, 32))
    assert nearly(corners(image), [RED, GREEN, BLUE, WHITE])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("orientation", "seen"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (2, [GREEN, RED, WHITE, BLUE]),
        (3, [WHITE, BLUE, GREEN, RED]),
        (6, [BLUE, RED, WHITE, GREEN]),
        (8, [GREEN, WHITE, RED, BLUE]),
    ],
)
def test_a_photo_is_turned_upright(kind, orientation, seen):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = open_image(file_of(quarters(), kind, exif=exif))
    assert image.size == ((32, 64) if orientation > 4 else (64, 32))
    assert nearly(corners(image), seen, within=80)


def test_transparency_is_laid_on_white():
    half = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    assert open_image(file_of(half)).getpixel((4, 4)) == (255, 127, 127)
    assert open_image(file_of(Image.new("LA", (8, 8), (0, 0)))).getpixel((4, 4)) == WHITE


@pytest.mark.parametrize(
    ("image", "lost"),
    [
        (Image.new("RGBA", (8, 8), (255, 0, 0, 254)), ["opaque"]),
        (Image.new("LA", (8, 8), (0, 0)), ["opaque"]),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 255)), []),
        (Image.new("RGB", (8, 8)), []),
    ],
)
def test_transparency_is_reported_where_there_is_any(image, lost):
    _, changes = decode_image(file_of(image))
    assert [(change.parameter, change.applied) for change in changes] == [("image", what) for what in lost]


def test_a_palette_with_a_transparent_colour_is_laid_on_white():
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 255, 255, 0, 0])
    assert open_image(file_of(palette)).getpixel((4, 4)) == RED
    assert open_image(file_of(palette, transparency=1)).getpixel((4, 4)) == WHITE


def test_sixteen_bit_grey_keeps_its_brightness():
    values = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    image = open_image(file_of(Image.fromarray(values)))
    assert (np.asarray(image)[..., 0] == values >> 8).all()


def test_sixteen_bit_grey_with_a_transparent_value_is_laid_on_white():
    grey = Image.fromarray(np.full((8, 8), 1000, dtype=np.uint16))
    assert open_image(file_of(grey, transparency=1000)).getpixel((4, 4)) == WHITE


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_and_black_and_white_become_colour(mode):
    image = open_image(file_of(Image.new(mode, (8, 8), 255)))
    assert (image.mode, image.getpixel((4, 4))) == ("RGB", WHITE)


def test_print_colours_become_screen_colours():
    image = open_image(file_of(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert nearly([image.getpixel((8, 8))], [RED])  # type: ignore[list-item]


@pytest.mark.parametrize("kind", ["PNG", "WebP"])
def test_the_first_frame_of_an_animation_is_taken_and_the_others_are_reported(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    image, (change,) = decode_image(file_of(frames[0], kind, save_all=True, append_images=frames[1:], duration=100))
    assert nearly([image.getpixel((8, 8))], [RED])  # type: ignore[list-item]
    assert (change.parameter, change.requested, change.applied) == ("image", "2 frames", "1 frame")


@pytest.mark.parametrize(
    "data",
    [
        png_of_size(50_000, 50_000),
        jpeg_of_size(60_000, 60_000),
        webp_of_size(16_000, 16_000),
        png_of_size(10_000, 10_000),
    ],
    ids=["png 50k", "jpeg 60k", "webp 16k", "png 10k"],
)
def test_a_picture_that_is_too_large_is_refused_from_its_header(data):
    tracemalloc.start()
    started = time.perf_counter()
    why = refusal(data)
    seconds, (_, peak_bytes) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "50,000,000 pixels" in why
    assert seconds < 0.5
    assert peak_bytes < 5_000_000


def test_the_size_is_said_with_the_limit():
    assert refusal(png_of_size(50_000, 50_000)) == "it has 50000x50000 pixels; at most 50,000,000 pixels are allowed"
    with pytest.raises(ValidationError, match="at most 2,047 pixels"):
        open_image(file_of(quarters()), max_pixels=2047)
    assert open_image(file_of(quarters()), max_pixels=2048).size == (64, 32)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is an empty file; give a PNG, JPEG or WebP file"),
        (b"just words", "it is a text file; give a PNG, JPEG or WebP file"),
        (b"<html>login</html>", "it is an HTML page; give a PNG, JPEG or WebP file"),
        (file_of(Image.new("RGB", (8, 8)), "GIF"), "it is a GIF image; give a PNG, JPEG or WebP file"),
        (file_of(Image.new("RGB", (8, 8)), "TIFF"), "it is a TIFF image; give a PNG, JPEG or WebP file"),
        (file_of(Image.new("RGB", (8, 8)), "BMP"), "it is a BMP image; give a PNG, JPEG or WebP file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "it is a text file; give a PNG, JPEG or WebP file"),
    ],
)
def test_what_came_instead_of_an_image_is_said(data, why):
    assert refusal(data) == why


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("part", [0.95, 0.5, 0.1])
def test_an_image_that_is_cut_off_is_refused(kind, part):
    data = file_of(Image.effect_noise((64, 64), 80).convert("RGB"), kind)
    assert f"the {kind} file is damaged or cut off" in refusal(data[: int(len(data) * part)])


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_bytes_open_or_are_refused_and_nothing_else(kind):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    whole = file_of(Image.effect_noise((48, 32), 80).convert("RGB"), kind, exif=exif)
    chance = random.Random(kind)
    outcomes = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of a broken EXIF block
        for _ in range(500):
            data = bytearray(whole)
            for _ in range(chance.randint(1, 8)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            try:
                outcomes.add(open_image(bytes(data)).mode)
            except ValidationError:
                outcomes.add("refused")
    assert outcomes <= {"RGB", "refused"}
    assert "refused" in outcomes


SIDES = st.integers(1, 300)


@settings(deadline=None)  # the machine may be busy
@given(width=SIDES, height=SIDES, to_width=SIDES, to_height=SIDES, fit=st.sampled_from(["crop", "pad"]))
def test_an_image_of_any_size_fits_any_size_exactly(width, height, to_width, to_height, fit):
    image = Image.new("RGB", (width, height), "red")
    fitted, adjustment = fit_image(image, width=to_width, height=to_height, fit=fit)
    assert (fitted.size, fitted.mode) == ((to_width, to_height), "RGB")
    assert (adjustment is None) == ((width, height) == (to_width, to_height))
    assert fitted.getpixel(((to_width - 1) // 2, (to_height - 1) // 2)) == RED


@settings(deadline=None)  # the machine may be busy
@given(
    width=st.integers(40, 300),
    height=st.integers(40, 300),
    to_width=st.integers(40, 300),
    to_height=st.integers(40, 300),
)
def test_cropping_scales_alike_in_both_directions_and_keeps_the_centre(width, height, to_width, to_height):
    columns = np.broadcast_to(np.arange(width, dtype=np.float32)[None, :], (height, width))
    rows = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], (height, width))
    scale = max(to_width / width, to_height / height)
    for ramp, axis, size in ((columns, 1, width), (rows, 0, height)):
        fitted, _ = fit_image(Image.fromarray(ramp.copy()), width=to_width, height=to_height, fit="crop")
        line = np.asarray(fitted).mean(axis=1 - axis)
        inner = slice(len(line) // 4, -(len(line) // 4))
        assert np.diff(line[inner]).mean() == pytest.approx(1 / scale, rel=0.05)
        assert line.mean() == pytest.approx((size - 1) / 2, abs=0.5 / scale + 0.5)


@settings(deadline=None)  # the machine may be busy
@given(
    width=st.integers(8, 300), height=st.integers(8, 300), to_width=st.integers(8, 300), to_height=st.integers(8, 300)
)
def test_padding_shows_the_whole_image_undistorted_in_the_middle_of_black(width, height, to_width, to_height):
    fitted, _ = fit_image(Image.new("L", (width, height), 255), width=to_width, height=to_height, fit="pad")
    left, top, right, bottom = fitted.getbbox() or (0, 0, 0, 0)
    scale = min(to_width / width, to_height / height)
    assert abs((right - left) - max(1, width * scale)) <= 0.5
    assert abs((bottom - top) - max(1, height * scale)) <= 0.5
    assert abs(left - (to_width - right)) <= 1
    assert abs(top - (to_height - bottom)) <= 1


def test_an_image_of_the_right_size_is_not_touched():
    image = quarters()
    assert fit_image(image, width=64, height=32, fit="crop") == (image, None)


def test_what_was_done_to_the_image_is_reported():
    _, cropped = fit_image(quarters(), width=32, height=32, fit="crop")
    assert cropped is not None
    assert cropped.to_dict() == {
        "parameter": "image",
        "requested": "64x32",
        "applied": "32x32",
        "reason": "scaled to 1 times its size, 25.0% cut off left and right each",
    }
    _, padded = fit_image(quarters(), width=32, height=32, fit="pad")
    assert padded is not None
    assert padded.reason == "scaled to 0.5 times its size, about 8 black rows above and below"
    _, scaled = fit_image(quarters(), width=128, height=64, fit="pad")
    assert scaled is not None
    assert scaled.reason == "scaled to 2 times its size"
