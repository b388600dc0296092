"""Which bytes of a file a request wants, by RFC 9110: what is no range is ignored, what lies outside is not."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

_RANGE = re.compile(r"(\d{1,18})-(\d{0,18})|-(\d{1,18})", re.ASCII)


def range_of(headers: Headers, *, size: int, etag: str, modified: str) -> str | None:
    """Return the `Range` to answer to, without the parts that lie outside `size` bytes; None for the whole file.

    Raises `HTTPException` (416) where every part lies outside.
    """
    unit, _, wanted = headers.get("range", "").partition("=")
    if unit.strip().lower() != "bytes" or headers.get("if-range", etag) not in {etag, modified}:
        return None
    inside = []
    for part in filter(None, map(str.strip, wanted.split(","))):
        match = _RANGE.fullmatch(part)
        if match is None:
            return None
        first, last, suffix = match.groups()
        if last and int(last) < int(first):
            return None
        if (int(suffix) > 0 and size > 0) if suffix else int(first) < size:
            inside.append(part)
    if not inside:
        if not wanted.strip(", \t"):
            return None
        raise HTTPException(416, f"The file has {size} bytes", {"content-range": f"bytes */{size}"})
    return f"bytes={','.join(inside)}"


def bounds_of(wanted: str, *, size: int) -> tuple[int, int]:
    """Return the first byte of the one part of what `range_of` returned, and the first one after it."""
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
