"""A file that a host says is the video: looked at before it is believed."""

from __future__ import annotations

from pathlib import Path

from cinelet.domain.errors import ProcessingError
from cinelet.media.signature import HEAD_BYTES, describe, kind_of
from cinelet.observability.quoting import host_text

_SUFFIXES = {
    "MP4 video": ".mp4",
    "MOV video": ".mov",
    "WebM video": ".webm",
    "Matroska video": ".mkv",
    "AVI video": ".avi",
}


def require_video(head: bytes) -> None:
    """Raise `ProcessingError` that says what came instead, where a file does not begin as a video does."""
    if kind_of(head) not in _SUFFIXES:
        raise ProcessingError(f"No video arrived, but {host_text(describe(head))}", "downloading")


def name_by_content(path: Path) -> Path:
    """Give a video the suffix of its container and return where it is now."""
    with path.open("rb") as file:
        kind = kind_of(file.read(HEAD_BYTES))
    return path.rename(path.with_suffix(_SUFFIXES.get(kind or "", path.suffix)))
