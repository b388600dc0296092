"""Blobs in a folder of this machine.

Written by ourselves: obstore's local store renames without a sync, so that a power cut may leave an empty file under a
name that promises a whole one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from cinelet.storage.blobs import (
    CHUNK_BYTES,
    Blob,
    Stored,
    check_content,
    checked_key,
    checked_range,
    copy_hashed,
    key_of,
)
from cinelet.storage.durable_file import ABANDONED_AFTER_SECONDS, PART_SUFFIX, move_into_place, sweep_parts, write_part
from cinelet.storage.errors import BlobCorruptError, BlobNotFoundError, disk_errors

SMALL_BYTES = 64 * 1024
"""A file of this size is read sooner than another thread is woken."""
PARTS = ".parts"
"""The folder of temporary files; no key begins with a dot."""


class FolderStore:
    """A `BlobStore` in a folder, which is made at the first write. Processes that share it need no lock."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._parts = self.root / PARTS

    def __repr__(self) -> str:
        return f"FolderStore({str(self.root)!r})"

    def sweep(self, *, older_than_seconds: float = ABANDONED_AFTER_SECONDS) -> int:
        """Remove temporary files that a killed process left; return how many. What cannot be removed stays."""
        with contextlib.suppress(OSError):
            return sweep_parts(self._parts, older_than_seconds=older_than_seconds)
        return 0

    async def put_file(self, path: Path, *, suffix: str, sha256: str | None = None, folder: str | None = None) -> Blob:
        """Store a file's content under its SHA-256: copied and hashed in one pass, synced, renamed."""
        if sha256 is not None and (there := self._small_whole(key_of(sha256, suffix=suffix, folder=folder))):
            return there
        return await asyncio.to_thread(self._put_file, path, suffix, sha256, folder)

    async def get_to_file(self, key: str, path: Path) -> Blob:
        """Copy what is stored to `path`, and check it on the way."""
        return await asyncio.to_thread(self._get_to_file, key, path)

    async def stream(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Return the bytes from `start` up to `end` in pieces."""
        first, last = checked_range(start, end, size=(await self.head(key)).size)
        return self._pieces(key, first, last)

    async def head(self, key: str) -> Stored:
        """Say how large it is and when it was written."""
        with self._errors(key, "read"):
            # In this thread: to ask for a file's facts is shorter than the way to another one.
            found = self._path(key).stat()
        if not stat.S_ISREG(found.st_mode):
            raise BlobNotFoundError(key)
        return Stored(key, found.st_size, found.st_mtime)

    async def delete(self, key: str) -> None:
        """Remove it, and the folders that are empty then."""
        await asyncio.to_thread(self._delete, key)

    async def put_bytes(self, key: str, content: bytes, *, create: bool = False) -> bool:
        """Store something small in one step."""
        return await asyncio.to_thread(self._put_bytes, key, content, create=create)

    async def get_bytes(self, key: str) -> bytes:
        """Return something small."""
        with self._errors(key, "read"):
            return await asyncio.to_thread(self._path(key).read_bytes)

    async def listed(self, folder: str) -> list[Stored]:
        """Return all that is below a folder."""
        return await asyncio.to_thread(self._listed, folder)

    async def touch(self, key: str) -> None:
        """Set its time of modification to now."""
        with disk_errors(f"touch {key}", str(self.root)), contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(os.utime, self._path(key))

    async def presigned_url(self, key: str, *, seconds: int) -> str | None:  # noqa: ARG002  (a folder has none)
        """Return None: a folder has no addresses."""
        checked_key(key)
        return None

    def local_path(self, key: str) -> Path | None:
        """Return the file."""
        return self._path(key)

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)

    @contextlib.contextmanager
    def _errors(self, key: str, verb: str) -> Iterator[None]:
        with disk_errors(f"{verb} {key}", str(self.root)):
            try:
                yield
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise BlobNotFoundError(key) from None

    def _put_file(self, path: Path, suffix: str, sha256: str | None, folder: str | None) -> Blob:
        if sha256 is not None and (there := self._whole(key_of(sha256, suffix=suffix, folder=folder))):
            return there

        def fill(part: BinaryIO) -> tuple[str, int]:
            with path.open("rb") as source:
                return copy_hashed(source, part)

        with disk_errors(f"store {path.name}", str(self.root)):
            part, (found, size) = write_part(self._parts, fill)
            try:
                key = key_of(found, suffix=suffix, folder=folder)
                if sha256 not in {None, found}:
                    raise BlobCorruptError(key_of(str(sha256), suffix=suffix, folder=folder))
                if sha256 is not None or self._whole(key) is None:
                    move_into_place(part, self._path(key), root=self.root)
            finally:
                part.unlink(missing_ok=True)
        return Blob(key, found, size)

    def _small_whole(self, key: str) -> Blob | None:
        """Return a small blob that is there and whole: what was made before often is."""
        try:
            small = self._path(key).stat().st_size <= SMALL_BYTES
        except OSError:
            return None
        return self._whole(key) if small else None

    def _whole(self, key: str) -> Blob | None:
        """Return the blob if the key is taken by the content that it promises; a damaged one is written again."""
        try:
            with self._path(key).open("rb") as file:
                sha256, size = copy_hashed(file)
            check_content(key, sha256)
        except (OSError, BlobCorruptError):
            return None
        return Blob(key, sha256, size)

    def _get_to_file(self, key: str, path: Path) -> Blob:
        part = path.with_name(f".{path.name}{PART_SUFFIX}")
        with self._errors(key, "read"):
            source = self._path(key).open("rb")
        try:
            with source, disk_errors(f"write {path.name}", str(path.parent)), part.open("wb") as target:
                sha256, size = copy_hashed(source, target)
            check_content(key, sha256)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return Blob(key, sha256, size)

    async def _pieces(self, key: str, at: int, end: int) -> AsyncIterator[bytes]:
        with self._errors(key, "read"):
            file = await asyncio.to_thread(self._path(key).open, "rb")
            with file:
                file.seek(at)
                while at < end:
                    piece = await asyncio.to_thread(file.read, min(CHUNK_BYTES, end - at))
                    if not piece:
                        raise BlobCorruptError(key)
                    at += len(piece)
                    yield piece

    def _put_bytes(self, key: str, content: bytes, *, create: bool) -> bool:
        target = self._path(key)
        with disk_errors(f"store {key}", str(self.root)):
            part, _ = write_part(self._parts, lambda file: file.write(content))
            return move_into_place(part, target, root=self.root, create=create)

    def _delete(self, key: str) -> None:
        path = self._path(key)
        with disk_errors(f"delete {key}", str(self.root)), contextlib.suppress(FileNotFoundError):
            path.unlink()
        for folder in path.parents:
            if folder == self.root:
                break
            try:
                folder.rmdir()
            except OSError:
                break  # Not empty, or somebody else was faster.

    def _listed(self, folder: str) -> list[Stored]:
        found = []
        for at, _, names in os.walk(self._path(folder)):
            for name in names:
                path = Path(at, name)
                with contextlib.suppress(FileNotFoundError):
                    facts = path.stat()
                    found.append(Stored(path.relative_to(self.root).as_posix(), facts.st_size, facts.st_mtime))
        return found
