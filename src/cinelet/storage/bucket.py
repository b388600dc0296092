"""Blobs in a bucket: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage; through obstore.

An object appears when its upload is complete. A killed process leaves nothing but the parts of an upload, which the
bucket's own rule for incomplete uploads removes.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from cinelet.domain.errors import ValidationError
from cinelet.storage.blobs import (
    CHUNK_BYTES,
    Blob,
    Stored,
    check_content,
    checked_key,
    checked_range,
    content_type,
    copy_hashed,
    key_of,
)
from cinelet.storage.durable_file import PART_SUFFIX
from cinelet.storage.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    StorageDeniedError,
    StorageError,
    disk_errors,
)

# A whole video on a slow line takes minutes; a line on which nothing moves is given up much earlier.
CLIENT = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "1h"}
RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}

_REASONS = (
    re.compile(r"<Code>(\w{1,60})</Code>"),
    re.compile(r"status code: (\d{3}(?: [A-Z][A-Za-z ]{1,40})?)"),
    re.compile(r"HTTP error: ([a-z ]{1,60})"),
)


class BucketStore:
    """A `BlobStore` in a bucket. url: s3://bucket/prefix, gs:// or az://; options: obstore's configuration."""

    def __init__(self, url: str, *, options: Mapping[str, Any] | None = None) -> None:
        try:
            import obstore
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ImportError as error:  # pragma: no cover  (the tests have it)
            message = "Storing videos in a bucket needs obstore: pip install 'cinelet[buckets]'"
            raise ValidationError(message, {"storage": "obstore is not installed"}) from error
        self.url = url
        self._obstore = obstore
        self._failures = (BaseError, OSError, ValueError)
        given = dict(options or {})
        client = {**CLIENT, **({"allow_http": True} if str(given.get("endpoint", "")).startswith("http://") else {})}
        with self._errors("open"):
            connect: Any = from_url  # its overloads know only literal schemes
            self._store: Any = connect(url, config=given, client_options=client, retry_config=RETRIES)

    def __repr__(self) -> str:
        return f"BucketStore({self.url!r})"

    async def put_file(self, path: Path, *, suffix: str, sha256: str | None = None, folder: str | None = None) -> Blob:
        """Upload a file's content under its SHA-256, in parts where it is large."""
        with disk_errors(f"read {path.name}", str(path.parent)):
            found, size = await asyncio.to_thread(_hashed, path)
        key = key_of(found, suffix=suffix, folder=folder)
        if sha256 not in {None, found}:
            raise BlobCorruptError(key_of(str(sha256), suffix=suffix, folder=folder))
        try:
            if (await self.head(key)).size == size:
                return Blob(key, found, size)
        except BlobNotFoundError:
            pass
        with self._errors(key):
            await self._obstore.put_async(self._store, key, path, attributes=_attributes(key))
        return Blob(key, found, size)

    async def get_to_file(self, key: str, path: Path) -> Blob:
        """Download what is stored to `path`, and check it on the way."""
        part = path.with_name(f".{path.name}{PART_SUFFIX}")
        digest = hashlib.sha256()
        size = 0
        pieces = await self.stream(key)
        where = (f"write {path.name}", str(path.parent))
        try:
            with disk_errors(*where):
                file = part.open("wb")
            with file:
                async for piece in pieces:
                    digest.update(piece)
                    size += len(piece)
                    with disk_errors(*where):
                        await asyncio.to_thread(file.write, piece)
                with disk_errors(*where):
                    file.flush()
            check_content(key, digest.hexdigest())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return Blob(key, digest.hexdigest(), size)

    async def stream(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Return the bytes from `start` up to `end` in pieces."""
        first, last = checked_range(start, end, size=(await self.head(key)).size)
        return self._pieces(key, first, last)

    async def head(self, key: str) -> Stored:
        """Say how large it is and when it was written."""
        with self._errors(checked_key(key)):
            found = await self._obstore.head_async(self._store, key)
        return Stored(key, found["size"], found["last_modified"].timestamp())

    async def delete(self, key: str) -> None:
        """Remove it."""
        # Azure and Google say that it is not there; that is what was wanted.
        with suppress(BlobNotFoundError), self._errors(checked_key(key)):
            await self._obstore.delete_async(self._store, key)

    async def put_bytes(self, key: str, content: bytes, *, create: bool = False) -> bool:
        """Store something small in one step."""
        from obstore.exceptions import AlreadyExistsError

        with self._errors(checked_key(key)):
            mode: Literal["create", "overwrite"] = "create" if create else "overwrite"
            try:
                await self._obstore.put_async(self._store, key, content, mode=mode, attributes=_attributes(key))
            except AlreadyExistsError:
                return False
        return True

    async def get_bytes(self, key: str) -> bytes:
        """Return something small."""
        with self._errors(checked_key(key)):
            return bytes(await (await self._obstore.get_async(self._store, key)).bytes_async())

    async def listed(self, folder: str) -> list[Stored]:
        """Return all that is below a folder, by as many requests as the bucket needs."""
        with self._errors(checked_key(folder)):
            return [
                Stored(found["path"], found["size"], found["last_modified"].timestamp())
                async for batch in self._obstore.list(self._store, folder, chunk_size=1000)
                for found in batch
            ]

    async def touch(self, key: str) -> None:
        """Set its time of modification to now, by writing it again: for small things only."""
        with suppress(BlobNotFoundError):
            await self.put_bytes(key, await self.get_bytes(key))

    async def presigned_url(self, key: str, *, seconds: int) -> str | None:
        """Return an address that holds its own permission, for `seconds`; it is a secret as long as it is valid."""
        with self._errors(checked_key(key)):
            url: str = await self._obstore.sign_async(self._store, "GET", key, timedelta(seconds=seconds))
        return url

    def local_path(self, key: str) -> Path | None:
        """Return None: the bytes are elsewhere."""
        checked_key(key)
        return None

    async def _pieces(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        if start == end:
            return
        with self._errors(key):
            reply = await self._obstore.get_async(self._store, key, options={"range": (start, end)})
            async for piece in reply.stream(min_chunk_size=CHUNK_BYTES):
                yield piece

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turn obstore's errors into ours. Their text holds addresses and headers, so a known part of it is taken."""
        from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except self._failures as error:
            text = str(error)
            matches = (pattern.search(text) for pattern in _REASONS)
            reason = next((match[1].strip() for match in matches if match), type(error).__name__)
            if isinstance(error, FileNotFoundError) and reason != "NoSuchBucket":
                raise BlobNotFoundError(key) from None
            if isinstance(error, PermissionDeniedError | UnauthenticatedError):
                message = f"{self.url} does not let us use {key}: {reason}; check the credentials and their rights"
                raise StorageDeniedError(message) from None
            raise StorageError(f"{self.url} failed for {key}: {reason}; check the address and the network") from None


def _attributes(key: str) -> dict[str, str]:
    """Return what a link to it is to say of it."""
    return {"Content-Type": content_type(key)}


def _hashed(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return copy_hashed(file)
