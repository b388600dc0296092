"""A cache of finished videos in a blob store: what was made once is not made, or paid for, again.

Below `prefix`, each key has a folder with `entry.json` and the video under its SHA-256. Both appear in one step each,
the entry last, so processes that share the store need no lock: the last entry wins, and an entry is never seen before
its video. What was stored for the ledger lies elsewhere and is never touched.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cinelet.clock import Clock
from cinelet.domain.backend import Context
from cinelet.domain.errors import CapacityError, CineletError, ValidationError
from cinelet.domain.model import AUTO, ModelReference
from cinelet.domain.progress import Stage
from cinelet.domain.request import CacheMode, VideoRequest
from cinelet.domain.video import VideoResult
from cinelet.observability import metrics
from cinelet.observability.logs import get_logger
from cinelet.storage.blobs import BlobStore, Stored
from cinelet.storage.cache_entry import CacheEntry
from cinelet.storage.errors import BlobCorruptError, BlobNotFoundError, StorageError
from cinelet.storage.flights import Answer, Flights
from cinelet.storage.video_key import video_key_beside

ORPHANED_AFTER_SECONDS = 24 * 3600
"""A video without an entry may belong to one that is being stored now; after so long it does not."""
SWEEP_SHARE = 0.05
"""The part of the budget that this process writes before it looks at what others wrote."""

Make = Callable[[Context], Awaitable[VideoResult]]
Revision = Callable[[], Awaitable[str | None]]


async def _unknown() -> None:
    return None


class VideoCache:
    """Answers requests from the store, and keeps within `max_bytes` by removing what was used longest ago.

    ttl_seconds: how old an answer may be, None for any age. now: seconds since the epoch. A failing store costs a
    warning and a generation, never a result. A video is hashed whenever it is served, so nothing that changed in the
    store since it was put there is ever handed out.
    """

    def __init__(
        self,
        store: BlobStore,
        *,
        max_bytes: int,
        ttl_seconds: float | None = None,
        prefix: str = "cache",
        now: Callable[[], float] = time.time,
        clock: Clock | None = None,
    ) -> None:
        self.store = store
        self.max_bytes = max_bytes
        self.ttl_seconds = ttl_seconds
        self.prefix = prefix
        self.logger = get_logger(__name__)
        self._now = now
        self._flights = Flights(clock=clock)
        self._room_bytes = 0.0
        """What may still be written before others are looked at; at first nobody knows what is there."""

    async def answer(
        self,
        request: VideoRequest,
        context: Context,
        make: Make,
        *,
        mode: CacheMode = "use",
        revision: Revision = _unknown,
    ) -> Answer:
        """Return the video of a request whose `model` and `preset` are resolved; `make` makes it where it is not there.

        revision: names the state of the model; asked before the store, and again before a video is kept, because to
        make one may bring a newer model to this machine.

        A request without a seed asks for another video each time: it is made, and kept under the seed that was chosen.
        Identical requests in flight are made once. One that goes on from a provider's handle is never joined to
        another, because its job is paid for already.
        """
        if mode == "off":
            return Answer(await make(context), "off")

        async def made(inner: Context) -> Answer:
            result = await make(inner)
            await self.keep(result, request=request, revision=await revision())
            return Answer(result, "made")

        key = None
        if request.seed is not None and context.handle is None:
            key = await video_key_beside(request, revision=await revision())
        if key is None:
            return await made(context)

        async def found_or_made(inner: Context) -> Answer:
            found = await self._served(key, request, inner) if mode == "use" else None
            return await made(inner) if found is None else Answer(found, "hit")

        # Whether another model may do it is no part of the key, because such a video is not kept; but it may be made.
        answer = await self._flights.join((key, request.fallback, mode), found_or_made, context)
        return replace(answer, result=replace(answer.result, request=request))

    async def find(self, key: str) -> CacheEntry | None:
        """Return what is known of a cached video without opening it, or None; what is old or damaged is removed."""
        try:
            content = await self.store.get_bytes(self._entry_key(key))
        except BlobNotFoundError:
            return None
        entry = CacheEntry.from_json(content)
        fault = await self._fault(key, entry)
        if fault:
            await self._drop(key, fault)
            return None
        return entry

    async def fetch(self, entry: CacheEntry, path: Path) -> bool:
        """Copy the video to `path` and check it; a damaged one is removed, and False returned."""
        try:
            blob = await self.store.get_to_file(entry.blob_key, path)
        except (BlobNotFoundError, BlobCorruptError):
            await self._drop(entry.key, "its video is damaged or gone")
            return False
        if (blob.sha256, blob.size) != (entry.facts.sha256, entry.facts.size):
            await asyncio.to_thread(path.unlink, missing_ok=True)
            await self._drop(entry.key, "its video is not the one that was measured")
            return False
        metrics.cache_moved("read", blob.size)
        with suppress(CineletError):  # A store that is only read is still worth asking.
            await self.store.touch(self._entry_key(entry.key))
        return True

    async def keep(self, result: VideoResult, *, request: VideoRequest, revision: str | None = None) -> bool:
        """Store a result under its request and seed; return whether it is kept. The file stays where it is.

        Not kept: a video without a seed, one that another model made, one beyond the budget, one that the store does
        not take.
        """
        key = await video_key_beside(request, revision=revision, seed=result.seed)
        if key is None or result.facts.size > self.max_bytes or not _made_by(result, str(request.model)):
            return False
        try:
            await self._put(key, result, revision)
        except CineletError as error:
            self._warn("The video was not cached", error)
            return False
        return True

    async def sweep(self) -> int:
        """Remove what is too old, what is left over, and then what was used longest ago until the rest fits.

        Returns the bytes that remain.
        """
        entries: dict[str, Stored] = {}
        videos: defaultdict[str, list[Stored]] = defaultdict(list)
        for stored in await self.store.listed(self.prefix):
            folder, _, name = stored.key.rpartition("/")
            if name == "entry.json":
                entries[folder] = stored
            else:
                videos[folder].append(stored)
        now = self._now()
        for folder in entries.keys() | videos.keys():
            age = now - max((video.modified for video in videos[folder]), default=now)
            if folder not in entries and age > ORPHANED_AFTER_SECONDS:
                await self._remove([], videos.pop(folder))
            elif folder in entries and self.ttl_seconds is not None and age > self.ttl_seconds:
                await self._remove([entries.pop(folder)], videos.pop(folder))
        total = sum(stored.size for stored in entries.values())
        total += sum(video.size for group in videos.values() for video in group)
        evicted = 0
        for folder in sorted(entries, key=lambda folder: entries[folder].modified):
            if total <= self.max_bytes:
                break
            total -= await self._remove([entries[folder]], videos[folder])
            evicted += 1
        metrics.cache_looked_through(holds_bytes=total, evicted=evicted)
        self._room_bytes = min(self.max_bytes * SWEEP_SHARE, self.max_bytes - total)
        return total

    async def _served(self, key: str, request: VideoRequest, context: Context) -> VideoResult | None:
        path = context.folder
        try:
            entry = await self.find(key)
            if entry is None:
                return None
            path /= f"video{Path(entry.blob_key).suffix}"
        except (StorageError, CapacityError) as error:
            self._warn("The cache was not asked", error)
            return None
        try:
            # No room in the context's folder is raised: a video that is made has no room either, and costs more.
            if not await self.fetch(entry, path):
                return None
        except StorageError as error:
            self._warn("The cache was not asked", error)
            return None
        context.report(Stage.STORING, 1.0)
        return entry.result(path, request=request)

    def _warn(self, what: str, error: CineletError) -> None:
        self.logger.warning(what, extra={"reason": str(error), "code": error.code})

    async def _put(self, key: str, result: VideoResult, revision: str | None) -> None:
        facts = result.facts
        blob = await self.store.put_file(
            result.path, suffix=result.path.suffix.lower(), sha256=facts.sha256, folder=self._folder(key)
        )
        entry = CacheEntry.of(result, key=key, blob_key=blob.key, created_at=self._now(), revision=revision)
        content = entry.to_json()
        before = await self._entry_now(key)
        await self.store.put_bytes(self._entry_key(key), content)
        metrics.cache_moved("written", blob.size)
        if before is not None and before.blob_key != blob.key:
            await self.store.delete(before.blob_key)
        self._room_bytes -= blob.size + len(content)
        if self._room_bytes < 0:
            await self.sweep()

    async def _entry_now(self, key: str) -> CacheEntry | None:
        try:
            entry = CacheEntry.from_json(await self.store.get_bytes(self._entry_key(key)))
        except BlobNotFoundError:
            return None
        return entry if entry and entry.blob_key.startswith(f"{self._folder(key)}/") else None

    async def _fault(self, key: str, entry: CacheEntry | None) -> str | None:
        """Say why an entry must not be used, or return None."""
        if entry is None or entry.key != key or not entry.blob_key.startswith(f"{self._folder(key)}/"):
            return "its entry is damaged"
        if self.ttl_seconds is not None and abs(self._now() - entry.created_at) > self.ttl_seconds:
            return "it is too old"
        try:
            size = (await self.store.head(entry.blob_key)).size
        except (BlobNotFoundError, ValidationError):
            return "its video is gone"
        return None if size == entry.facts.size else "its video has another size"

    async def _drop(self, key: str, why: str) -> None:
        self.logger.warning("A cached video was removed", extra={"cache_key": key, "reason": why})
        stored = await self.store.listed(self._folder(key))
        names = [one for one in stored if one.key == self._entry_key(key)]
        await self._remove(names, [one for one in stored if one not in names])

    async def _remove(self, entries: list[Stored], videos: list[Stored]) -> int:
        """Delete entries, then videos: what is left by a kill in between is an orphan and not a promise."""
        for stored in (*entries, *videos):
            await self.store.delete(stored.key)
        return sum(stored.size for stored in (*entries, *videos))

    def _folder(self, key: str) -> str:
        return f"{self.prefix}/{key[:2]}/{key}"

    def _entry_key(self, key: str) -> str:
        return f"{self._folder(key)}/entry.json"


def _made_by(result: VideoResult, requested: str) -> bool:
    """Tell whether the requested model made it, on whichever provider, and not one that stepped in for it."""
    if requested == str(AUTO) or result.model == requested:
        return True
    try:
        made, asked = ModelReference.parse(result.model), ModelReference.parse(requested)
    except ValidationError:
        return False
    anywhere = {"hub", "hf", "local"}
    same_place = {made.scheme, asked.scheme} <= anywhere and asked.scheme == "hub"
    same_host = made.scheme == asked.scheme == "hf" and asked.provider is None
    return made.name == asked.name and (same_place or same_host) and not made.is_directory
