"""What lies in the store, as a reply: a file with ranges, a word to nginx, a link that the store signs, or a stream."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from cinelet.api.errors import NoImageError, NoPreviewError, NoVideoError
from cinelet.api.ranges import bounds_of, range_of
from cinelet.api.state import state_of
from cinelet.api.view import previews_of
from cinelet.domain.preview import SPRITESHEET, THUMBNAIL, THUMBNAIL_JPEG
from cinelet.jobs.durable import DurableJobs
from cinelet.jobs.generation import Generation
from cinelet.jobs.glimpses import find_glimpse
from cinelet.jobs.ledger import IMAGE_KEY, VIDEO_KEY
from cinelet.media.signature import HEAD_BYTES, IMAGE_TYPES, kind_of
from cinelet.storage.blobs import content_type

PRESIGNED_SECONDS = 3600
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_WEIGHT = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?", re.ASCII)


def file_route(router: APIRouter, path: str) -> Callable[[Endpoint], Endpoint]:
    """Have a route answer GET with a file, and HEAD with its headers alone."""

    def both(endpoint: Endpoint) -> Endpoint:
        router.head(path, response_class=Response, description="Return the headers of what GET returns.")(endpoint)
        return router.get(path, response_class=Response)(endpoint)

    return both


async def video_reply(request: Request, generation: Generation, *, redirect: bool = True) -> Response:
    """Return the video of a generation, its facts in the headers. redirect: to the store, where it signs links."""
    result = _result(generation)
    key, size, etag = result[VIDEO_KEY], result["video_size"], result["sha256"]
    return await _reply(request, generation, key, size=size, etag=etag, headers=_facts(result), redirect=redirect)


async def thumbnail_reply(request: Request, generation: Generation, *, redirect: bool = True) -> Response:
    """Return the picture that stands for the video: WebP, or JPEG where the request would rather have that."""
    name = THUMBNAIL_JPEG if _prefers_jpeg(request.headers.get("accept", "")) else THUMBNAIL
    return await _picture_reply(request, generation, name, {"vary": "accept"}, redirect=redirect)


async def spritesheet_reply(request: Request, generation: Generation, *, redirect: bool = True) -> Response:
    """Return the picture that shows frames from all over the video; how it is laid out is in the headers."""
    sheet = previews_of(_result(generation))["spritesheet"]
    headers = {f"x-cinelet-{name.replace('_', '-')}": f"{value:g}" for name, value in sheet.items()}
    return await _picture_reply(request, generation, SPRITESHEET, headers, redirect=redirect)


async def glimpse_reply(jobs: DurableJobs, generation: Generation) -> Response:
    """Return the latest picture of a generation that is being made."""
    picture = await find_glimpse(jobs.database, generation.id) if generation.previews else None
    if picture is None:
        raise NoPreviewError(generation.id)
    # It is another one soon.
    headers = {"cache-control": "private, no-store", "x-content-type-options": "nosniff"}
    return Response(picture, media_type="image/webp", headers=headers)


async def image_reply(request: Request, generation: Generation) -> Response:
    """Return the image that a generation begins with, as it was sent. It is the caller's own: it comes from here."""
    key = generation.request.get(IMAGE_KEY)
    if key is None:
        raise NoImageError(generation.id)
    store = (await state_of(request)).jobs.store
    size = (await store.head(key)).size
    head = b"".join([piece async for piece in await store.stream(key, end=min(size, HEAD_BYTES))])
    kind = IMAGE_TYPES.get(kind_of(head) or "")
    etag = PurePosixPath(key).stem
    return await _reply(request, generation, key, size=size, etag=etag, headers={}, redirect=False, kind=kind)


async def _picture_reply(
    request: Request, generation: Generation, name: str, headers: Mapping[str, str], *, redirect: bool
) -> Response:
    result = _result(generation)
    state = await state_of(request)
    stored = await state.jobs.previews.find(result[VIDEO_KEY], name)
    # Drawn again by another version it may be another file; of the same length, hardly.
    etag = f"{result['sha256']}-{name}-{stored.size}"
    return await _reply(
        request, generation, stored.key, size=stored.size, etag=etag, headers=headers, redirect=redirect
    )


async def _reply(
    request: Request,
    generation: Generation,
    key: str,
    *,
    size: int,
    etag: str,
    headers: Mapping[str, str],
    redirect: bool,
    kind: str | None = None,
) -> Response:
    state = await state_of(request)
    store, prefix = state.jobs.store, state.config.cinelet_accel_prefix
    kind = kind or content_type(key)
    told = {
        "etag": f'"{etag}"',
        "last-modified": formatdate(generation.created_at.timestamp(), usegmt=True),
        "cache-control": "private, immutable",
        "content-disposition": f'inline; filename="{generation.id}{PurePosixPath(key).suffix}"',
        # Some host made it: it must be taken for nothing else than what it is said to be.
        "x-content-type-options": "nosniff",
        "x-cinelet-generation": generation.id,
        **headers,
    }
    path = store.local_path(key)
    if path is not None:
        size = (await store.head(key)).size  # raises where it is gone
    if _is_known(request, told["etag"]):
        return Response(status_code=304, headers=told)
    if path is not None and prefix is not None:
        return Response(headers={**told, "x-accel-redirect": f"{prefix}{key}"}, media_type=kind)
    is_head = request.method == "HEAD"  # which has no body, no range, and no link that a store signs for GET
    if path is None and redirect and not is_head and state.config.cinelet_storage_redirect:
        link = await store.presigned_url(key, seconds=PRESIGNED_SECONDS)
        if link is not None:
            return RedirectResponse(link, 307, {"cache-control": "private, no-store"})
    if is_head:
        return Response(headers={**told, "accept-ranges": "bytes", "content-length": str(size)}, media_type=kind)
    wanted = range_of(request.headers, size=size, etag=told["etag"], modified=told["last-modified"])
    if path is not None:
        return _RangedFile(path, wanted, headers=told, media_type=kind)
    first, last, status = 0, size, 200
    told["accept-ranges"] = "bytes"
    # Of several parts nobody asks a store; the whole file is an answer to that, too.
    if wanted is not None and "," not in wanted:
        (first, last), status = bounds_of(wanted, size=size), 206
        told["content-range"] = f"bytes {first}-{last - 1}/{size}"
    told["content-length"] = str(last - first)
    return StreamingResponse(await store.stream(key, start=first, end=last), status, headers=told, media_type=kind)


class _RangedFile(FileResponse):
    """A file, whose range was looked at before: `wanted` stands for what the request says about it."""

    # Each piece takes a turn in a thread: Starlette's 64 KiB cost three times the CPU.
    chunk_size = 512 * 1024

    def __init__(self, path: Path, wanted: str | None, *, headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(path, headers=headers, media_type=media_type)
        self._wanted = wanted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [header for header in scope["headers"] if header[0] not in {b"range", b"if-range"}]
        if self._wanted is not None:
            headers.append((b"range", self._wanted.encode()))
        await super().__call__({**scope, "headers": headers}, receive, send)


def _result(generation: Generation) -> dict[str, Any]:
    if generation.result is None:
        raise NoVideoError(generation.id, generation.state)
    return generation.result


def _is_known(request: Request, etag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}


def _prefers_jpeg(accept: str) -> bool:
    """Tell whether an `Accept` header puts JPEG before WebP."""
    weights: dict[str, float] = {}
    for one in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in one.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        weights[kind] = float(weight) if _WEIGHT.fullmatch(weight) else 0.0
    jpeg, webp = (
        next((weights[name] for name in (kind, "image/*", "*/*") if name in weights), 0.0)
        for kind in ("image/jpeg", "image/webp")
    )
    return jpeg > webp


def _facts(result: dict[str, Any]) -> dict[str, str]:
    """Return the measured facts as headers."""
    return {
        "x-cinelet-model": str(result["model"]).encode("ascii", "replace").decode(),
        "x-cinelet-seed": str(result["seed"]),
        "x-cinelet-resolution": str(result["resolution"]),
        "x-cinelet-duration": f"{result['duration']:g}",
        "x-cinelet-fps": f"{result['fps']:g}",
        "x-cinelet-cache": str(result["cache"]),
        "x-cinelet-adjusted": ",".join(dict.fromkeys(change["parameter"] for change in result["adjustments"])),
    }
