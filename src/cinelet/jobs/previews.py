"""Pictures of stored videos, kept beside them: the same video has the same pictures, whoever asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import PurePosixPath

from cinelet.domain.errors import CineletError, ProcessingError
from cinelet.domain.preview import FILES
from cinelet.jobs.database import Database
from cinelet.jobs.ledger import JobLedger
from cinelet.observability.logs import get_logger
from cinelet.service import VideoService
from cinelet.storage.blobs import BlobStore, Stored
from cinelet.storage.errors import BlobNotFoundError
from cinelet.storage.work_folder import work_folder

FOLDER = "previews"
"""Of the store. Where the layout of the pictures changes, so must this: what is kept is not looked at again."""
REMEMBERED_FAILURES = 1000
_logger = get_logger(__name__)


def preview_key(video_key: str, name: str) -> str:
    """Return where a picture of a stored video is, by the picture's name."""
    sha256 = PurePosixPath(video_key).stem
    return f"{FOLDER}/{sha256[:2]}/{sha256[2:4]}/{sha256}-{name}"


def preview_keys(video_key: str) -> list[str]:
    """Return where all pictures of a stored video are."""
    return [preview_key(video_key, name) for name in FILES]


async def keep_previews(store: BlobStore, video_key: str, files: Mapping[str, bytes] | None) -> None:
    """Store the pictures of a video, if there are any. A failure is logged: they can be drawn again."""
    try:
        await _put(store, video_key, files or {})
    except CineletError as error:
        _logger.warning("The pictures of a video were not kept", extra={"reason": str(error), "code": error.code})


async def _put(store: BlobStore, video_key: str, files: Mapping[str, bytes]) -> None:
    await asyncio.gather(*(store.put_bytes(preview_key(video_key, name), content) for name, content in files.items()))


class Previews:
    """Finds the pictures of videos, and draws those that nobody has drawn: of older videos, or after a failure."""

    def __init__(self, database: Database, store: BlobStore, service: VideoService) -> None:
        self._database = database
        self._ledger = JobLedger(database)
        self._store = store
        self._service = service
        # It takes the processor for as long as a video takes to decode; whoever waits may find it done.
        self._one_at_a_time = asyncio.Lock()
        self._failures: dict[str, ProcessingError] = {}

    async def find(self, video_key: str, name: str) -> Stored:
        """Return a picture of a stored video, by the picture's name.

        Raises `ProcessingError` where it cannot be drawn, and what the store raises.
        """
        key = preview_key(video_key, name)
        try:
            return await self._store.head(key)
        except BlobNotFoundError:
            pass
        async with self._one_at_a_time:
            try:
                return await self._store.head(key)
            except BlobNotFoundError:
                await self._draw(video_key)
        return await self._store.head(key)

    async def _draw(self, video_key: str) -> None:
        if video_key in self._failures:
            raise self._failures[video_key]
        try:
            files = await self._drawn(video_key)
        except ProcessingError as error:
            # A video does not change; to try again would only take the processor again.
            if len(self._failures) >= REMEMBERED_FAILURES:
                self._failures.clear()
            self._failures[video_key] = error
            raise
        # Whoever deletes the last generation with this video waits, or was here before: nothing is left behind.
        async with self._database.locked(video_key) as connection:
            if await self._ledger.uses(video_key, connection=connection):
                await _put(self._store, video_key, files)

    async def _drawn(self, video_key: str) -> Mapping[str, bytes]:
        path = self._store.local_path(video_key)
        if path is not None:
            await self._store.head(video_key)
            return await self._service.previews(path)
        with work_folder() as folder:
            path = folder / PurePosixPath(video_key).name
            await self._store.get_to_file(video_key, path)
            return await self._service.previews(path)
