"""A file while it arrives: beside its final name, limited in size, looked at early, named only when it is whole."""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import httpx2

from cinelet.clock import in_thread_to_the_end
from cinelet.domain.errors import CapacityError, FileSizeError, ProcessingError

HEAD_BYTES = 4096
"""How much of a file is shown to `check_head`."""
SMALL_BYTES = 1_000_000
"""To name so much takes no time. Over a file that is there, a file system may first write all to the disk."""
STAGE = "downloading"


class PartFile:
    """A growing file; leaving the block removes it unless `finish` has named it.

    max_bytes: one byte more is a `FileSizeError`. check_head: called once with the first 4096 bytes, or with all of a
    shorter file; what it raises ends the transfer. An empty file is a `ProcessingError`.
    """

    def __init__(self, path: Path, *, max_bytes: int, check_head: Callable[[bytes], None] | None) -> None:
        self.size = 0
        self._path = path
        self._growing = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._max_bytes = max_bytes
        self._check_head = check_head
        self._head: bytearray | None = bytearray()

    def __enter__(self) -> Self:
        with _errors_about(self._path):
            self._file = self._growing.open("xb")
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self._growing.unlink(missing_ok=True)

    def expect(self, total: int | None) -> None:
        """Raise `FileSizeError` at once for a file that is announced as too large."""
        if total is not None and total > self._max_bytes:
            raise FileSizeError(total, self._max_bytes, "video")

    async def fill(self, response: httpx2.Response, *, on_chunk: Callable[[], None] | None = None) -> None:
        """Append a reply's body; raises `httpx2.RequestError` where it breaks off or has not its announced length."""
        announced = announced_bytes(response)
        begin = self.size
        self.expect(None if announced is None else begin + announced)
        async for chunk in response.aiter_raw():
            # In this thread: a write of 64 KiB to the page cache is shorter than the way to another one.
            self.write(chunk)
            if on_chunk is not None:
                on_chunk()
        if announced is not None and self.size - begin != announced:
            message = f"{self.size - begin} bytes came instead of {announced}"
            raise httpx2.RemoteProtocolError(message, request=response.request)

    def write(self, chunk: bytes) -> None:
        """Append bytes."""
        self.size += len(chunk)
        self.expect(self.size)
        if self._head is not None:
            self._head += chunk[: HEAD_BYTES - len(self._head)]
            if len(self._head) == HEAD_BYTES:
                self._look()
        with _errors_about(self._path):
            self._file.write(chunk)

    def restart(self) -> None:
        """Forget what has arrived."""
        with _errors_about(self._path):
            self._file.seek(0)
            self._file.truncate()
        self.size = 0
        self._head = bytearray()

    async def finish(self) -> None:
        """Give the whole file its name. Whoever keeps it for good syncs his copy to the disk."""
        if self.size == 0 and self._check_head is None:
            raise ProcessingError("The video that arrived is an empty file", STAGE)
        if self._head is not None:
            self._look()
        if self.size <= SMALL_BYTES:
            self._name()
        else:
            # Whoever removes what a cancel leaves does so when it has its name.
            await in_thread_to_the_end(self._name)

    def _name(self) -> None:
        with _errors_about(self._path):
            self._file.close()
            self._growing.replace(self._path)

    def _look(self) -> None:
        head, self._head = self._head, None
        if self._check_head is not None and head is not None:
            self._check_head(bytes(head))


@contextlib.contextmanager
def removed_on_failure(path: Path) -> Iterator[None]:
    """Remove a file that got its name just before the block failed, as a cancel may let it."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def announced_bytes(response: httpx2.Response) -> int | None:
    """Return the `Content-Length` of a body, or None where there is no usable one."""
    text = response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def require_plain_body(response: httpx2.Response, *, host: str) -> None:
    """Raise `ProcessingError` for a compressed body, which may unfold to anything; none was asked for."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise ProcessingError(f"{host} sent the video compressed ({encoding[:20]!r}), which nobody asked for", STAGE)


@contextlib.contextmanager
def _errors_about(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise CapacityError(f"{path.name} cannot be written: the disk is full; free some space") from error
        raise ProcessingError(f"{path.name} cannot be written: {error.strerror or error}", STAGE) from error
