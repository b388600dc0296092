"""A request that would rather have the video than the job, and waits for it as long as it says."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse

from cinelet.api.errors import NoSuchGenerationError
from cinelet.api.view import view_of
from cinelet.domain.errors import ValidationError
from cinelet.jobs.durable import DurableJobs
from cinelet.jobs.generation import Generation

MAX_WAIT_SECONDS = 600.0
MEDIA_WAIT_SECONDS = 300.0
"""For `Accept: video/mp4` without a time."""
PRESIGNED_SECONDS = 3600
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")
KINDS = {".mp4": "video/mp4", ".webm": "video/webm"}


def wait_seconds(request: Request) -> float:
    """Return how long a request wants to wait for the video: `Prefer: wait=N`, or because it accepts nothing else."""
    preferred = _WAIT.search(request.headers.get("prefer", ""))
    if preferred is not None:
        return min(float(preferred[1]), MAX_WAIT_SECONDS)
    return MEDIA_WAIT_SECONDS if wants_video(request) else 0.0


def wants_video(request: Request) -> bool:
    """Tell whether a request accepts a video rather than JSON."""
    return request.headers.get("accept", "").strip().lower().startswith("video/")


async def ended_within(jobs: DurableJobs, generation: Generation, seconds: float) -> Generation:
    """Return a generation when it has ended, or as it is after so many seconds."""
    if seconds > 0 and not generation.state.final:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for _ in jobs.events.watch(generation.id):
                    pass
    found = await jobs.ledger.get(generation.id)
    if found is None:
        raise NoSuchGenerationError
    return found


async def accepted(request: Request, jobs: DurableJobs, generation: Generation) -> Response:
    """Return the reply to a new generation: the job, or the video where it is there in time."""
    seconds = wait_seconds(request)
    found = await ended_within(jobs, generation, seconds) if seconds else generation
    where = f"/v1/generations/{found.id}"
    if found.result is not None and wants_video(request):
        return await video_reply(request, jobs, found)
    applied = {"preference-applied": f"wait={seconds:g}"} if seconds and not wants_video(request) else {}
    status = 200 if found.state.final and seconds else 202
    return JSONResponse(view_of(found).model_dump(), status, {"location": where, **applied})


class VideoFile(FileResponse):
    """A file that is read in larger pieces: each takes a turn in a thread, and 64 KiB cost three times the CPU."""

    chunk_size = 512 * 1024


async def video_reply(request: Request, jobs: DurableJobs, generation: Generation, *, status: int = 200) -> Response:
    """Return the video: from a file with ranges, by a link that the store signs, or streamed through."""
    result = generation.result
    if result is None:
        message = f"{generation.id} is {generation.state}, so there is no video"
        raise ValidationError(message, {"id": f"Is {generation.state}"})
    key = result["blob"]
    headers = {"etag": f'"{result["sha256"]}"', "cache-control": "private, immutable", **_facts(generation, result)}
    kind = KINDS.get(Path(key).suffix, "application/octet-stream")
    path = jobs.store.local_path(key)
    if path is not None:
        await jobs.store.head(key)  # raises where it is gone
        if _is_known(request, headers["etag"]):
            return Response(status_code=304, headers=headers)
        headers["last-modified"] = formatdate(generation.created_at.timestamp(), usegmt=True)
        return VideoFile(path, status, headers, media_type=kind, content_disposition_type="inline")
    link = await jobs.store.presigned_url(key, seconds=PRESIGNED_SECONDS)
    if link is not None:
        return RedirectResponse(link, 307, {"cache-control": "private, no-store"})
    headers["content-length"] = str(result["video_size"])
    return StreamingResponse(await jobs.store.stream(key), status, headers, media_type=kind)


def _is_known(request: Request, etag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return "range" not in request.headers and (
        known.strip() == "*" or etag in {tag.strip() for tag in known.split(",")}
    )


def _facts(generation: Generation, result: dict[str, Any]) -> dict[str, str]:
    """Return the measured facts as headers."""
    return {
        "x-cinelet-generation": generation.id,
        "x-cinelet-model": str(result["model"]).encode("ascii", "replace").decode(),
        "x-cinelet-seed": str(result["seed"]),
        "x-cinelet-resolution": str(result["resolution"]),
        "x-cinelet-duration": f"{result['duration']:g}",
        "x-cinelet-fps": f"{result['fps']:g}",
        "x-cinelet-cache": str(result["cache"]),
        "x-cinelet-adjusted": ",".join(change["parameter"] for change in result["adjustments"]),
    }
