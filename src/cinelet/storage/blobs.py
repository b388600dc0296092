"""Bytes under a key: what a store does, wherever it keeps them.

A video's key is its SHA-256, so that storing it twice stores it once, and reading it shows whether it is still whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from cinelet.domain.errors import ValidationError
from cinelet.storage.errors import BlobCorruptError

CHUNK_BYTES = 1024 * 1024
BUCKET_SCHEMES = ("s3", "gs", "az")
MAX_KEY_CHARACTERS = 512

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_TYPES = {".mp4": "video/mp4", ".webm": "video/webm", ".webp": "image/webp", ".jpg": "image/jpeg"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Blob:
    """Content in a store. size: bytes."""

    key: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store says about a key. size: bytes; modified: seconds since the epoch."""

    key: str
    size: int
    modified: float


class BlobStore(Protocol):
    """Keeps bytes. Used from any event loop; several processes may share what it stands for.

    Raises `StorageError` and its kinds, `CapacityError` where there is no room, `ValidationError` for a wrong key.
    """

    async def put_file(self, path: Path, *, suffix: str, sha256: str | None = None, folder: str | None = None) -> Blob:
        """Store a file's content durably under its SHA-256; if it is there already, that is enough.

        suffix: such as ".mp4". sha256: what the content must have; raises `BlobCorruptError` if it has another. folder:
        the part of the key before the SHA-256, by default one of 65,536 below "blobs".
        """
        ...

    async def get_to_file(self, key: str, path: Path) -> Blob:
        """Write what is stored to `path`, which appears when it is whole.

        Raises `BlobCorruptError` where the key is a SHA-256 and the content has another; nothing is left at `path`.
        """
        ...

    async def stream(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Return the bytes from `start` up to `end` (exclusive; None or more than there is: all) in pieces."""
        ...

    async def head(self, key: str) -> Stored:
        """Say how large it is and when it was written, without reading it."""
        ...

    async def delete(self, key: str) -> None:
        """Remove it; a key that is not there is no error."""
        ...

    async def put_bytes(self, key: str, content: bytes, *, create: bool = False) -> bool:
        """Store something small in one step. With `create`, return False and change nothing if the key is there."""
        ...

    async def get_bytes(self, key: str) -> bytes:
        """Return something small."""
        ...

    async def listed(self, folder: str) -> list[Stored]:
        """Return all that is below a folder, in no order."""
        ...

    async def touch(self, key: str) -> None:
        """Set its time of modification to now; a key that is not there is no error."""
        ...

    async def presigned_url(self, key: str, *, seconds: int) -> str | None:
        """Return an address that anybody can read it from for so long, or None where the store has none."""
        ...

    def local_path(self, key: str) -> Path | None:
        """Return the file on this machine that holds it, or None where there is none; it must stay as it is."""
        ...


def open_store(url: str, *, options: Mapping[str, Any] | None = None) -> BlobStore:
    """Return the store that a URL names: a path or file:path, s3://bucket/prefix, gs://bucket/prefix, az://container.

    Credentials come from the places that the provider's own tools read; a URL that holds one is refused. options: of
    a bucket, as obstore names them (`endpoint`, `region`, `access_key_id`, ...). Abandoned temporary files in a folder
    are removed. Raises `ValidationError`.
    """
    folder = check_store_url(url)
    if folder is None:
        from cinelet.storage.bucket import BucketStore

        return BucketStore(url, options=options)
    from cinelet.storage.folder import FolderStore

    store = FolderStore(folder)
    store.sweep()
    return store


def check_store_url(url: str) -> Path | None:
    """Return the folder that a store's URL names, None for a bucket, or raise `ValidationError`. Opens nothing."""
    scheme, colon, rest = url.partition(":")
    if colon and scheme in BUCKET_SCHEMES:
        parts = urlsplit(url)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise _refused(f"{scheme}://...", "it must hold only the bucket and a prefix; credentials go elsewhere")
        prefix = parts.path.strip("/")
        if not parts.hostname or (prefix and not _KEY.fullmatch(prefix)) or ".." in prefix:
            raise _refused(url, f"write {scheme}://bucket or {scheme}://bucket/prefix")
        return None
    if colon and "://" in url and scheme != "file":
        raise _refused(f"{scheme}://...", "use a folder, s3://, gs:// or az://")
    path = _path_of(rest.removeprefix("//")) if scheme == "file" else url
    if not path:
        raise _refused(url, "it is empty")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise _refused(url, "there is no such user; write the whole path") from error


def _path_of(url_path: str) -> str:
    from urllib.request import url2pathname  # Loads an HTTP client.

    return url2pathname(url_path)


def _refused(url: str, why: str) -> ValidationError:
    return ValidationError(f"{url} is no place to store videos: {why}", {"storage": why})


def checked_key(key: str) -> str:
    """Return the key, or raise `ValidationError` unless it is made of plain names with slashes between them."""
    if len(key) > MAX_KEY_CHARACTERS or not _KEY.fullmatch(key) or ".." in key:
        raise ValidationError(f"{key[:80]!r} is not the key of a blob", {"key": "Not a key"})
    return key


def key_of(sha256: str, *, suffix: str, folder: str | None = None) -> str:
    """Return the key of content by its SHA-256 and the suffix of its files."""
    if not _SHA256.fullmatch(sha256) or not _SUFFIX.fullmatch(suffix):
        message = f"{sha256[:80]!r} with {suffix[:20]!r} names no blob"
        raise ValidationError(message, {"key": "Not a SHA-256 and a suffix"})
    return checked_key(f"{folder or f'blobs/{sha256[:2]}/{sha256[2:4]}'}/{sha256}{suffix}")


def content_type(key: str) -> str:
    """Return the media type of what is stored under a key, by its suffix."""
    return _TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")


def check_content(key: str, sha256: str) -> None:
    """Raise `BlobCorruptError` where the key is a SHA-256 and the content has another."""
    named = key.rpartition("/")[2].partition(".")[0]
    if _SHA256.fullmatch(named) and named != sha256:
        raise BlobCorruptError(key)


def checked_range(start: int, end: int | None, *, size: int) -> tuple[int, int]:
    """Return the range within `size` bytes, or raise `ValidationError` if there is no such range."""
    last = size if end is None else min(end, size)
    if not 0 <= start <= last:
        raise ValidationError(f"There are no bytes {start} to {end} in {size}", {"range": "Outside the content"})
    return start, last


def copy_hashed(source: BinaryIO, target: BinaryIO | None = None) -> tuple[str, int]:
    """Copy a file, or only read it; return its SHA-256 and size."""
    digest = hashlib.sha256()
    size = 0
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest(), size
