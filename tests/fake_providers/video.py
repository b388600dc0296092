"""A real small MP4, and a large one that begins with it."""

from __future__ import annotations

import functools
import re
import struct
import tempfile
from pathlib import Path

from starlette.types import Receive, Scope, Send

_CHUNK_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@functools.cache
def small_mp4() -> bytes:
    """Return 8 frames of 64x48 pixels at 8 fps, made by our encoder, once a process."""
    from cinelet.media.encode import encode
    from tests.media.clips import moving_square

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        encode(moving_square(frames=8), path, fps=8)
        return path.read_bytes()


class VideoFile:
    """What a download host holds. A size above the small video's is reached by a `free` box, which players skip."""

    def __init__(self, size_bytes: int | None = None) -> None:
        self._head = small_mp4()
        self.size = len(self._head)
        if size_bytes is not None:
            padding = size_bytes - self.size
            # The large form of a box: length 1, name, real length in 8 bytes.
            self._head += struct.pack(">I4sQ", 1, b"free", padding)
            self.size = size_bytes

    def piece(self, start: int, stop: int) -> bytes:
        """Return the bytes from start to stop; after the head there are zeros."""
        known = self._head[start:stop]
        return known + bytes(stop - start - len(known))


class VideoReply:
    """A download: the file, or the range of it that was asked for."""

    def __init__(self, file: VideoFile, byte_range: str | None) -> None:
        self._file = file
        self._start, self._stop, self._status = 0, file.size, 200
        if byte_range and (match := _RANGE.fullmatch(byte_range)):
            self._start = int(match[1])
            self._stop = min(int(match[2]) + 1, file.size) if match[2] else file.size
            self._status = 206 if self._start < self._stop else 416

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        size = self._file.size
        if self._status == 416:
            headers = {"content-range": f"bytes */{size}", "content-length": "0"}
            self._stop = self._start
        else:
            headers = {"content-type": "video/mp4", "content-length": str(self._stop - self._start)}
            headers |= {"accept-ranges": "bytes", "etag": '"the-only-version"'}
        if self._status == 206:
            headers["content-range"] = f"bytes {self._start}-{self._stop - 1}/{size}"
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self._status, "headers": raw})
        for start in range(self._start, self._stop, _CHUNK_BYTES):
            piece = self._file.piece(start, min(start + _CHUNK_BYTES, self._stop))
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})
