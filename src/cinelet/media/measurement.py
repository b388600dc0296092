"""Measure a video file by decoding all of it. Runs inside `sandbox`, so this file imports nothing of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,ogg"
"""Containers that hold their own video. Playlists and image sequences, which name other files, are not among them."""
DECODER_THREADS = 2
"""Bounded: each thread holds frames, and a child with many threads would use up its processor time at once."""

Watch = Callable[[int], Callable[[av.VideoFrame], None]]
"""Takes how many frames the header promises, 0 where it does not; gives what sees each frame in turn."""

_QUARTER_TURNS = (90, 270)


class NoVideoError(ValueError):
    """The file is not a whole video; the message completes "it is no video: ..."."""


@dataclass(slots=True)
class Timeline:
    """What the timestamps of the frames add up to, in ticks of `tick` seconds."""

    tick: Fraction
    frames: int = 0
    first: int | None = None
    last: int | None = None
    last_duration: int = 0

    def add(self, timestamp: int | None, duration: int) -> None:
        """Count one frame. Some containers give no timestamps; then the declared rate has to do."""
        self.frames += 1
        if timestamp is None:
            return
        self.first = timestamp if self.first is None else min(self.first, timestamp)
        if self.last is None or timestamp >= self.last:
            self.last, self.last_duration = timestamp, duration

    def rate(self, declared: Fraction | None) -> Fraction:
        """Return frames a second: the declared rate if the timestamps allow it, else the simplest that they allow.

        A file whose frames are not evenly spaced gets its average rate. Timestamps are rounded to ticks, so they only
        give an interval: 48 frames of 24 a second in a WebM file (ticks of 1 ms) measure as 23.994 to 24.006.
        """
        ticks = 0 if self.first is None or self.last is None else self.last - self.first
        if ticks <= 0:
            if declared:
                return declared
            return 1 / (self.last_duration * self.tick) if self.last_duration > 0 else Fraction(1)
        frames_per_tick = (self.frames - 1) / self.tick
        slowest, measured, fastest = (frames_per_tick / span for span in (ticks + 1, ticks, max(ticks - 1, 1)))
        if declared and slowest < declared < fastest:
            return declared
        return measured if measured.denominator == 1 else _simplest_between(slowest, fastest)

    def seconds(self, rate: Fraction) -> Fraction:
        """Return the time from the start of the first frame to the end of the last one."""
        even = self.frames / rate
        if self.first is None or self.last is None:
            return even
        last_seconds = self.last_duration * self.tick if self.last_duration > 0 else 1 / rate
        measured = (self.last - self.first) * self.tick + last_seconds
        # Rounded to ticks at both ends.
        return even if abs(measured - even) <= 2 * self.tick else measured


def measure(order: dict[str, Any], *, watch: Watch | None = None) -> dict[str, Any]:
    """Return the facts of the file `order["path"]`, as JSON values; `max_pixels` (a frame) and `max_frames` bound it.

    watch: sees each frame as well. The path is absolute: "concat:a|b" would be a protocol to the demuxer. Raises
    `NoVideoError`.
    """
    path = Path(order["path"])
    try:
        facts = _decode(path, max_pixels=order["max_pixels"], max_frames=order["max_frames"], watch=watch)
    except MemoryError:
        raise
    except av.FFmpegError as error:
        raise NoVideoError(f"it does not decode ({error.strerror})") from error
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {**facts, "size": path.stat().st_size, "sha256": digest}


def _decode(path: Path, *, max_pixels: int, max_frames: int, watch: Watch | None) -> dict[str, Any]:
    # The lists keep the file from opening other files and addresses.
    options = {"protocol_whitelist": "file", "format_whitelist": DEMUXERS}
    # A title in a broken encoding is no reason to refuse the pictures.
    with av.open(str(path), options=options, metadata_errors="ignore") as container:
        stream = next((s for s in container.streams.video if not s.disposition & s.disposition.attached_pic), None)
        if stream is None:
            raise NoVideoError("it holds sound and no pictures" if container.streams.audio else "it holds no pictures")
        # The types of av do not say it: no context where the codec is unknown.
        context: av.VideoCodecContext | None = stream.codec_context
        if context is None:
            raise NoVideoError("its codec is unknown")
        _check_pixels(context.width, context.height, max_pixels)
        context.thread_count = DECODER_THREADS
        context.options = {"max_pixels": str(max_pixels)}
        timeline = Timeline(stream.time_base or Fraction(1, 1000))
        width = height = 0
        see = watch(_promised_frames(container, stream)) if watch else None
        for frame in _frames(container, stream, timeline):
            if timeline.frames > max_frames:
                raise NoVideoError(f"it has more than {max_frames:,} frames")
            if not width:
                width, height = frame.width, frame.height
                if abs(frame.rotation) % 360 in _QUARTER_TURNS:
                    width, height = height, width
            if see is not None:
                see(frame)
        if not width:
            raise NoVideoError("it holds no frame")
        rate = timeline.rate(stream.average_rate)
        return {
            "width": width,
            "height": height,
            "fps": str(rate),
            "frames": timeline.frames,
            "duration": float(timeline.seconds(rate)),
            "codec": stream.codec.canonical_name,
            "container": _container_name(path, container.format.name),
            "has_audio": bool(container.streams.audio),
        }


def _promised_frames(container: av.container.InputContainer, stream: av.VideoStream) -> int:
    """Return how many frames the header promises, 0 where it does not."""
    if stream.frames or not container.duration or not stream.average_rate:
        return stream.frames
    return round(Fraction(container.duration, av.time_base) * stream.average_rate)


def _frames(
    container: av.container.InputContainer, stream: av.VideoStream, timeline: Timeline
) -> Iterator[av.VideoFrame]:
    """Yield each frame of the stream, counted in the timeline; raise `NoVideoError` if the file ends too early."""
    start, end = None, Fraction(0)
    for packet in container.demux():
        if packet.is_corrupt:
            raise NoVideoError(f"it is cut off or damaged after {timeline.frames} frames")
        if packet.pts is not None and packet.time_base:
            begins = packet.pts * packet.time_base
            start = begins if start is None else min(start, begins)
            end = max(end, begins + (packet.duration or 0) * packet.time_base)
        if packet.stream_index != stream.index:
            continue
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except av.FFmpegError as error:
            raise NoVideoError(f"it is cut off or damaged after {timeline.frames} frames ({error.strerror})") from error
        for frame in frames:
            if not isinstance(frame, av.VideoFrame):
                continue
            if frame.is_corrupt:
                raise NoVideoError(f"it is cut off or damaged after {timeline.frames} frames")
            timeline.add(frame.pts, frame.duration or 0)
            yield frame
    _check_length(container, seconds=end - (start or 0), frames=timeline.frames)


def _check_length(container: av.container.InputContainer, *, seconds: Fraction, frames: int) -> None:
    """Refuse a file that ends well before its header says: WebM that is cut off decodes without complaint."""
    if not container.duration or not frames:
        return
    declared = Fraction(container.duration, av.time_base)
    # Headers round, and sound may begin before the pictures; a missing frame or two is no reason to refuse.
    tolerance = max(Fraction(1, 10), Fraction(3, 2) * seconds / frames)
    if seconds < declared - tolerance:
        raise NoVideoError(f"it ends after {float(seconds):.2f} s of the {float(declared):.2f} s that its header says")


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise NoVideoError(f"its frames are {width}x{height}; at most {max_pixels:,} pixels are decoded")


def _container_name(path: Path, demuxer: str) -> str:
    """Return one name where a demuxer's own name lists the whole family."""
    with path.open("rb") as file:
        head = file.read(128)
    if demuxer.startswith("mov"):
        return "mov" if head[4:12] == b"ftypqt  " else "mp4"
    if demuxer.startswith("matroska"):
        return "webm" if b"webm" in head else "matroska"
    return demuxer


def _simplest_between(low: Fraction, high: Fraction) -> Fraction:
    """Return the fraction of smallest denominator in the closed interval: a walk down the continued fraction."""
    whole = low.__ceil__()
    if whole <= high:
        return Fraction(whole)
    below = whole - 1
    return below + 1 / _simplest_between(1 / (high - below), 1 / (low - below))
