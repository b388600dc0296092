"""A request that would rather have the video than the job, and waits for it as long as it says."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from cinelet.api.errors import NoSuchGenerationError
from cinelet.api.file_reply import video_reply
from cinelet.api.view import view_of
from cinelet.jobs.durable import DurableJobs
from cinelet.jobs.generation import Generation

MAX_WAIT_SECONDS = 600.0
MEDIA_WAIT_SECONDS = 300.0
"""For `Accept: video/mp4` without a time."""
_WAIT = re.compile(
    r'(?:^|[,;\s])wait\s*=\s*(?:"(?P<quoted>\d{1,18})"|(?P<plain>\d{1,18}))(?:$|[,;\s])', re.ASCII | re.IGNORECASE
)


def wait_seconds(request: Request) -> float:
    """Return how long a request wants to wait for the video: `Prefer: wait=N`, or because it accepts nothing else."""
    preferred = _WAIT.search(request.headers.get("prefer", ""))
    if preferred is not None:
        return min(float(preferred["quoted"] or preferred["plain"]), MAX_WAIT_SECONDS)
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
        return await video_reply(request, found)
    applied = {"preference-applied": f"wait={seconds:g}"} if seconds and not wants_video(request) else {}
    status = 200 if found.state.final and seconds else 202
    return JSONResponse(view_of(found).model_dump(), status, {"location": where, **applied})
