"""Measure a video file that nobody vouches for."""

from __future__ import annotations

import base64
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from cinelet.domain.errors import ProcessingError
from cinelet.domain.preview import SPRITESHEET, THUMBNAIL, THUMBNAIL_JPEG
from cinelet.domain.result import VideoFacts
from cinelet.media.sandbox import Sandbox, SandboxError, SandboxLimits
from cinelet.media.signature import HEAD_BYTES, describe, kind_of
from cinelet.observability.logs import get_logger

ANSWER_BYTES = 8 * 1024**2
"""What a child may say at most; with pictures of pure noise it takes an eighth of it."""
KEPT_CHILDREN = 2
"""How many children wait for the next file, each with some 40 MB; more are started when more files come at once."""


_KINDS = {THUMBNAIL: "WebP image", THUMBNAIL_JPEG: "JPEG image", SPRITESHEET: "WebP image"}
_logger = get_logger(__name__)


class _ChildCrashedError(ProcessingError):
    """The child gave no answer at all, so nobody knows over what it crashed."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a video may be at most. max_pixels: of one frame. memory_bytes: address space while decoding."""

    max_pixels: int = 8192 * 4352
    max_frames: int = 100_000
    memory_bytes: int = 2 * 1024**3


class Prober:
    """Probes files in child processes, and keeps those that are ready for another: starting one takes longest.

    draws: whether it can draw pictures as well; a child that can is larger, and takes longer to start. `close` it, or
    let it be collected; a child that waits ends with this process in any case.
    """

    def __init__(self, *, expect: Expectation | None = None, draws: bool = False) -> None:
        self._expect = expect or Expectation()
        self._draws = draws
        self._ready: list[Sandbox] = []
        self._lock = threading.Lock()
        self._finalize = weakref.finalize(self, _close_all, self._ready)

    @property
    def prepared(self) -> bool:
        """Whether a child waits for the next `probe`."""
        return bool(self._ready)

    def prepare(self) -> None:
        """Start the child of the next `probe`, unless one waits already."""
        with self._lock:
            if not self._ready and self._finalize.alive:
                self._ready.append(_started(draws=self._draws))

    def probe(self, path: Path, *, timeout_seconds: float = 60) -> VideoFacts:
        """Return the facts of a video file, as the function `probe` does."""
        return _facts(self._asked(path, timeout_seconds=timeout_seconds, previews=False))

    def probe_and_draw(
        self, path: Path, *, timeout_seconds: float = 60
    ) -> tuple[VideoFacts, Mapping[str, bytes] | None]:
        """Return the facts, and the pictures of `domain/preview.py` by their names, from decoding the file once.

        None where it does not draw, or can not this time; the log says why.
        """
        if not self._draws:
            return self.probe(path, timeout_seconds=timeout_seconds), None
        try:
            answer = self._asked(path, timeout_seconds=timeout_seconds, previews=True)
        except _ChildCrashedError as error:
            # Over the pictures, perhaps; if not, it will again.
            _logger.warning("The child crashed that drew pictures of a video", extra={"reason": str(error)})
            return self.probe(path, timeout_seconds=timeout_seconds), None
        return _facts(answer), _pictures(answer["previews"])

    def _asked(self, path: Path, *, timeout_seconds: float, previews: bool) -> dict[str, Any]:
        """Return what a child says about a file."""
        head = _head(path)
        if not head:
            raise _refused(path, "it is an empty file")
        limits = SandboxLimits(
            wall_seconds=timeout_seconds,
            cpu_seconds=timeout_seconds,
            memory_bytes=self._expect.memory_bytes,
            output_bytes=ANSWER_BYTES,
        )
        order = {
            "path": str(path.absolute()),
            "max_pixels": self._expect.max_pixels,
            "max_frames": self._expect.max_frames,
            "previews": previews,
        }
        try:
            with self._borrowed() as sandbox:
                answer: dict[str, Any] = sandbox.run(order, limits=limits)
        except SandboxError as error:
            kind = _ChildCrashedError if error.reason in {"crashed", "memory"} else ProcessingError
            raise _refused(path, _why(error, head), kind) from error
        return answer if self._draws else {"facts": answer}

    def close(self) -> None:
        """End the children that wait; afterwards none is prepared."""
        with self._lock:
            self._finalize()

    @contextmanager
    def _borrowed(self) -> Iterator[Sandbox]:
        """Yield a child that nobody else uses; keep it afterwards if it can go on and few wait."""
        with self._lock:
            sandbox = self._ready.pop() if self._ready else None
        sandbox = sandbox or _started(draws=self._draws)
        try:
            yield sandbox
        finally:
            with self._lock:
                kept = sandbox.usable and self._finalize.alive and len(self._ready) < KEPT_CHILDREN
                if kept:
                    self._ready.append(sandbox)
            if not kept:
                sandbox.close()


def probe(path: Path, *, timeout_seconds: float = 60, expect: Expectation | None = None) -> VideoFacts:
    """Return the facts of a video file, measured by decoding every frame in a child process; blocks, so use a thread.

    width, height: of the picture as stored, turned as the file says. fps: from the frames' timestamps, an average where
    they are not evenly spaced. `timeout_seconds` bounds the wall time and the processor time.
    Raises `ProcessingError` (stage "probe") for anything that is not a whole video; the message says what it is.
    """
    prober = Prober(expect=expect)
    try:
        return prober.probe(path, timeout_seconds=timeout_seconds)
    finally:
        prober.close()


def _started(*, draws: bool) -> Sandbox:
    # Late: they import av and numpy, which only the child needs.
    if draws:
        from cinelet.media.sketch import measure_and_draw

        return Sandbox(measure_and_draw)
    from cinelet.media.measurement import measure

    return Sandbox(measure)


def _close_all(sandboxes: list[Sandbox]) -> None:
    while sandboxes:
        sandboxes.pop().close()


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


def _refused(path: Path, why: str, kind: type[ProcessingError] = ProcessingError) -> ProcessingError:
    return kind(f"{path.name} is not a video that can be used: {why}", "probe")


def _facts(answer: dict[str, Any]) -> VideoFacts:
    facts = answer["facts"]
    return VideoFacts(**{**facts, "fps": Fraction(facts["fps"])})


def _pictures(drawn: Mapping[str, str] | str | None) -> Mapping[str, bytes] | None:
    """Return the pictures, if they are what their names say: a child that a hostile video has taken over may lie."""
    if isinstance(drawn, str):
        _logger.warning("There are no pictures of a video", extra={"reason": drawn})
    if drawn is None or isinstance(drawn, str):
        return None
    files = {name: base64.b64decode(content) for name, content in drawn.items()}
    whole = all(kind_of(files.get(name, b"")[:HEAD_BYTES]) == kind for name, kind in _KINDS.items())
    return files if whole and files.keys() == _KINDS.keys() else None
