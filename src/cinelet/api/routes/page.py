"""The page at `/`, and its files: nothing is loaded from elsewhere, and nothing else runs in it."""

from __future__ import annotations

import stat
from pathlib import Path

import anyio.to_thread
from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse

from cinelet.web import FOLDER

_ALLOWED = {
    "default": "'none'",
    "script": "'self'",
    "style": "'self'",
    "connect": "'self'",
    # What was fetched with a key, or is about to be sent.
    "img": "'self' blob:",
    "media": "'self' blob:",
}
POLICY = "; ".join(
    [f"{kind}-src {sources}" for kind, sources in _ALLOWED.items()]
    + [f"{what} 'none'" for what in ("base-uri", "form-action", "frame-ancestors")]
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    # Asked about each time, and sent only when it has changed.
    "cache-control": "no-cache",
}
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is sent; other files of the folder are not the page's."""

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page(request: Request) -> Response:
    """Return the page."""
    return await _file(request, FOLDER / "index.html")


@router.get("/web/{path:path}")
async def file_of_page(path: str, request: Request) -> Response:
    """Return a file of the page."""
    found = FOLDER.joinpath(path).resolve() if "\0" not in path else FOLDER
    if not found.is_relative_to(FOLDER) or found.suffix not in KINDS:
        raise HTTPException(404, "There is no such file")
    return await _file(request, found)


async def _file(request: Request, path: Path) -> Response:
    try:
        facts = await anyio.to_thread.run_sync(path.stat)
    except OSError as error:
        raise HTTPException(404, "There is no such file") from error
    if not stat.S_ISREG(facts.st_mode):
        raise HTTPException(404, "There is no such file")
    reply = FileResponse(path, headers=HEADERS, media_type=KINDS[path.suffix], stat_result=facts)
    if request.headers.get("if-none-match") == reply.headers["etag"]:
        return NotModifiedResponse(reply.headers)
    return reply
