"""The end of a generation that has a video: first it is stored, then the ledger says so."""

from __future__ import annotations

import time
from contextlib import suppress

from cinelet.domain.progress import Stage
from cinelet.domain.video import VideoResult
from cinelet.jobs.ledger import VIDEO_KEY, JobLedger
from cinelet.jobs.outcomes import Tried
from cinelet.jobs.previews import keep_previews
from cinelet.observability import metrics
from cinelet.observability.tracing import span
from cinelet.storage.blobs import BlobStore
from cinelet.storage.errors import BlobNotFoundError


async def store_and_complete(
    ledger: JobLedger, store: BlobStore, claim: tuple[str, int], result: VideoResult, tried: Tried
) -> None:
    """Store the video and say so. claim: the generation and its attempt. Raises `ClaimLostError`."""
    began = time.monotonic()
    with span("store", video_size=result.facts.size):
        key = await _put(store, result)
    metrics.stage_took(result.model, Stage.STORING, time.monotonic() - began)
    known = result.to_dict()
    known.pop("path")
    await ledger.complete(
        *claim,
        model=result.model,
        result={**known, VIDEO_KEY: key},
        tried=tried,
    )
    # Somebody may have deleted the last generation with the same video just before; from now on nobody will.
    with suppress(BlobNotFoundError):
        await store.head(key)
        return
    await _put(store, result)


async def _put(store: BlobStore, result: VideoResult) -> str:
    """Store the video and its pictures; return the key of the video."""
    suffix, sha256 = result.path.suffix.lower(), result.facts.sha256
    blob = await store.put_file(result.path, suffix=suffix, sha256=sha256)
    await keep_previews(store, blob.key, result.previews)
    return blob.key
