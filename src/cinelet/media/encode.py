"""Write frames to a video file that any player shows with the right colours, size and duration.

| preset | h264 (libx264, .mp4) | av1 (SVT-AV1, .mp4) | vp9 (libvpx, .webm) |
|---|---|---|---|
| low | veryfast, crf 26 | speed 8, crf 42 | realtime speed 8, crf 38 |
| medium | veryfast, crf 21 | speed 8, crf 30 | realtime speed 7, crf 28 |
| high | medium, crf 17 | speed 6, crf 22 | good speed 4, crf 20 |

All: yuv420p, BT.709 in limited range and tagged so, a key frame every 2 seconds, MP4 with its index in front. The same
frames give the same bytes on the same machine.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import numpy.typing as npt

from cinelet.domain.errors import CapacityError, ProcessingError
from cinelet.domain.request import MIN_AV1_SIDE_PIXELS, Codec, QualityPreset

if TYPE_CHECKING:
    import av

Frames = npt.NDArray[Any] | Iterable[npt.ArrayLike]

KEY_FRAME_SECONDS = 2

_BT709 = 1
_LIMITED_RANGE = 1
_FULL_RANGE = 2
_ROUNDING = 0.01
"""How far outside 0-1 a float value may lie before the frame is taken for a mistake."""


@dataclass(frozen=True, slots=True)
class _Encoder:
    name: str
    container: str
    container_options: Mapping[str, str]
    presets: Mapping[QualityPreset, Mapping[str, str]]


_FAST_START = {"movflags": "+faststart"}
# x264's macroblock tree reads memory that it did not write (seen with AVX-512 and without: another file each time), and
# a seed that is repeated must repeat its video. That costs 10 to 40 % more bytes at the same quality.
_REPEATABLE = {"x264-params": "mbtree=0"}
_ENCODERS: Mapping[Codec, _Encoder] = {
    "h264": _Encoder(
        "libx264",
        "mp4",
        _FAST_START,
        {
            "low": {"preset": "veryfast", "crf": "26", **_REPEATABLE},
            "medium": {"preset": "veryfast", "crf": "21", **_REPEATABLE},
            "high": {"preset": "medium", "crf": "17", **_REPEATABLE},
        },
    ),
    "av1": _Encoder(
        "libsvtav1",
        "mp4",
        _FAST_START,
        {
            "low": {"preset": "8", "crf": "42"},
            "medium": {"preset": "8", "crf": "30"},
            "high": {"preset": "6", "crf": "22"},
        },
    ),
    "vp9": _Encoder(
        "libvpx-vp9",
        "webm",
        # Without it a random number is the file's identity.
        {"fflags": "+bitexact"},
        {
            # b=0: the quality alone decides, without a bit rate limit.
            "low": {"deadline": "realtime", "cpu-used": "8", "crf": "38", "b": "0", "row-mt": "1"},
            "medium": {"deadline": "realtime", "cpu-used": "7", "crf": "28", "b": "0", "row-mt": "1"},
            "high": {"deadline": "good", "cpu-used": "4", "crf": "20", "b": "0", "row-mt": "1"},
        },
    ),
}


def container_suffix(codec: Codec) -> str:
    """Return the file suffix for a codec: ".mp4" or ".webm"."""
    return f".{_ENCODERS[codec].container}"


def encode(
    frames: Frames,
    path: Path,
    *,
    fps: Fraction | float,
    codec: Codec = "h264",
    preset: QualityPreset = "medium",
    on_frame: Callable[[int], None] | None = None,
) -> None:
    """Write frames to `path`, replacing it only when the whole file is there.

    frames: uint8, or floats from 0 to 1, of shape [T, H, W, 3], RGB; or an iterable of [H, W, 3], which is read one by
    one and never held as a whole. Floats are rounded. A side of odd length gets one more row or column, a copy of the
    last: 4:2:0 colour needs even sides, and one more line keeps every pixel where scaling would blur them all.
    fps: any positive rate; 29.97 is kept as 2997/100. on_frame: called with the number of frames done, 1 to T; what it
    raises ends the encoding and passes through. Nothing is left behind on a failure.
    Raises `ProcessingError` (stage "encoding") for frames that are no pictures or a file that cannot be written, and
    `CapacityError` for a full disk.
    """
    # Dots: hidden while it grows. The same folder: a rename must not cross file systems.
    growing = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with _Writer(growing, path=path, rate=_rate(fps), encoder=_ENCODERS[codec], preset=preset) as writer:
            for frame in frames:
                writer.add(_picture(np.asarray(frame), number=writer.count + 1))
                if on_frame is not None:
                    on_frame(writer.count)
        with _errors_about(path):
            growing.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            growing.unlink()


class _Writer:
    """One growing file: opened at the first picture, whose size it takes; complete when left without an exception."""

    def __init__(self, growing: Path, *, path: Path, rate: Fraction, encoder: _Encoder, preset: QualityPreset) -> None:
        self.count = 0
        self._growing = growing
        self._path = path
        self._rate = rate
        self._encoder = encoder
        self._preset = preset
        self._container: av.container.OutputContainer | None = None

    def __enter__(self) -> Self:
        return self

    def add(self, picture: npt.NDArray[np.uint8]) -> None:
        """Write one picture: uint8, [H, W, 3], both sides even."""
        import av

        height, width, _ = picture.shape
        if self._container is None:
            with _errors_about(self._path):
                self._open(width=width, height=height)
        if (width, height) != (self._stream.width, self._stream.height):
            raise _failed(
                f"frame {self.count + 1} has {width}x{height} pixels and the frames before it "
                f"{self._stream.width}x{self._stream.height}; give frames of one size"
            )
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        with _errors_about(self._path):
            # Left alone, the encoder would convert by BT.601, and players would show it by another matrix.
            converted = self._reformatter.reformat(
                frame,
                format="yuv420p",
                src_colorspace=_BT709,
                dst_colorspace=_BT709,
                src_color_range=_FULL_RANGE,
                dst_color_range=_LIMITED_RANGE,
                dst_color_trc=_BT709,
                dst_color_primaries=_BT709,
            )
            converted.pts = self.count
            converted.time_base = 1 / self._rate
            # The encoder is opened by its first frame.
            with _priority_kept() if self.count == 0 else contextlib.nullcontext():
                self._mux(converted)
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        import av

        if self._container is None:
            if kind is None:
                raise _failed("there are no frames")
            return
        if kind is None:
            with _errors_about(self._path), self._container:
                self._mux(None)
        else:
            # The file is thrown away: that it cannot be finished is no news beside the error on its way.
            with contextlib.suppress(av.FFmpegError):
                self._container.close()

    def _open(self, *, width: int, height: int) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        if self._encoder.name == "libsvtav1":
            if min(width, height) < MIN_AV1_SIDE_PIXELS:
                raise _failed(
                    f"AV1 needs sides of at least {MIN_AV1_SIDE_PIXELS} pixels, not {width}x{height}; use h264"
                )
            # SVT-AV1 prints a banner to stderr; its own variable, read at each open, is the only switch that it has.
            os.putenv("SVT_LOG", "1")
        self._container = av.open(
            str(self._growing), "w", format=self._encoder.container, options=dict(self._encoder.container_options)
        )
        options = dict(self._encoder.presets[self._preset])
        self._stream = cast("av.VideoStream", self._container.add_stream(self._encoder.name, self._rate, options))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        context.gop_size = max(1, round(KEY_FRAME_SECONDS * self._rate))
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        self._reformatter = VideoReformatter()

    def _mux(self, frame: av.VideoFrame | None) -> None:
        """Encode a frame, or the end (None)."""
        if self._container is not None:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)


@contextlib.contextmanager
def _priority_kept() -> Iterator[None]:
    """Undo what SVT-AV1 does as root on Linux: whoever opens it, and its own threads, become real-time (FIFO, 99).

    So would all that such a process starts from then on, and on a machine of few cores nobody else would ever run.
    """
    threads = Path("/proc/self/task")
    if not threads.is_dir() or not hasattr(os, "sched_getscheduler"):
        yield
        return
    before, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if before != os.SCHED_FIFO:
            for thread in [int(entry.name) for entry in threads.iterdir()]:
                with contextlib.suppress(OSError):  # it has ended
                    if os.sched_getscheduler(thread) == os.SCHED_FIFO:
                        os.sched_setscheduler(thread, before, parameters)


def _picture(frame: npt.NDArray[Any], *, number: int) -> npt.NDArray[np.uint8]:
    """Return a frame as uint8 with even sides, or raise `ProcessingError` that says what is wrong with it."""
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise _failed(f"frame {number} has the shape {frame.shape}, not [height, width, 3]")
    if np.issubdtype(frame.dtype, np.floating):
        low, high = float(frame.min()), float(frame.max())
        if math.isnan(low):
            raise _failed(
                f"frame {number} holds values that are no numbers; a model in float16 does this when it overflows"
            )
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            raise _failed(f"frame {number} has values from {low:g} to {high:g}; floats go from 0 to 1")
        frame = np.clip(np.rint(np.multiply(frame, 255, dtype=np.float32)), 0, 255).astype(np.uint8)
    elif frame.dtype != np.uint8:
        raise _failed(f"frame {number} is of type {frame.dtype}; give uint8, or floats from 0 to 1")
    height, width, _ = frame.shape
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)


def _rate(fps: Fraction | float) -> Fraction:
    rate = Fraction(fps).limit_denominator(1001) if math.isfinite(fps) else Fraction(0)
    if rate <= 0:
        raise _failed(f"{fps} frames a second is no rate; give a positive number")
    return rate


@contextlib.contextmanager
def _errors_about(path: Path) -> Iterator[None]:
    """Translate what the encoder and the disk raise."""
    import av

    try:
        yield
    except (av.FFmpegError, OSError) as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise CapacityError(f"{path.name} cannot be written: the disk is full; free some space") from error
        raise _failed(f"{path.name} cannot be written: {error.strerror}") from error


def _failed(why: str) -> ProcessingError:
    return ProcessingError(f"The video cannot be encoded: {why}", "encoding")
