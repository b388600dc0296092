"""Measure a video file that nobody vouches for."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from cinelet.domain.errors import ProcessingError
from cinelet.domain.result import VideoFacts
from cinelet.media.sandbox import SandboxError, SandboxLimits, run_limited
from cinelet.media.signature import HEAD_BYTES, describe, kind_of


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a video may be at most. max_pixels: of one frame. memory_bytes: address space while decoding."""

    max_pixels: int = 8192 * 4352
    max_frames: int = 100_000
    memory_bytes: int = 2 * 1024**3


def probe(path: Path, *, timeout_seconds: float = 60, expect: Expectation | None = None) -> VideoFacts:
    """Return the facts of a video file, measured by decoding every frame in a child process; blocks, so use a thread.

    width, height: of the picture as stored, turned as the file says. fps: from the frames' timestamps, an average where
    they are not evenly spaced. `timeout_seconds` bounds the wall time and the processor time.
    Raises `ProcessingError` (stage "probe") for anything that is not a whole video; the message says what it is.
    """
    # Late: it imports av, which only the child needs.
    from cinelet.media.measurement import measure

    expect = expect or Expectation()
    head = _head(path)
    if not head:
        raise _refused(path, "it is an empty file")
    limits = SandboxLimits(wall_seconds=timeout_seconds, cpu_seconds=timeout_seconds, memory_bytes=expect.memory_bytes)
    order = {"path": str(path.absolute()), "max_pixels": expect.max_pixels, "max_frames": expect.max_frames}
    try:
        measured: dict[str, Any] = run_limited(measure, order, limits=limits)
    except SandboxError as error:
        raise _refused(path, _why(error, head)) from error
    return VideoFacts(**{**measured, "fps": Fraction(measured["fps"])})


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise _refused(path, f"it cannot be read ({error.strerror})") from error


def _why(error: SandboxError, head: bytes) -> str:
    """Say what came instead if the first bytes show it, else where decoding ended."""
    if error.raised not in (None, "NoVideoError"):
        return f"decoding failed ({error.raised}: {error})"
    stopped = "" if error.reason == "raised" else f"decoding was stopped because {error}"
    if (kind_of(head) or "").endswith("video"):
        return stopped or str(error)
    return f"it is {describe(head)}" + (f", and {stopped}" if stopped else "")


def _refused(path: Path, why: str) -> ProcessingError:
    return ProcessingError(f"{path.name} is not a video that can be used: {why}", "probe")
