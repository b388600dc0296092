"""Dedicated Inference Endpoints: a POST of `{"inputs", "parameters"}` that is held until the video is its answer."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from cinelet.backends.huggingface import handle
from cinelet.backends.huggingface.access import HF_PREFIX
from cinelet.backends.huggingface.body import Body, json_body, json_body_with_picture, new_placeholder
from cinelet.backends.huggingface.families import ENDPOINT
from cinelet.backends.huggingface.job import DENOISED, WAITED, Line
from cinelet.backends.huggingface.picture import Picture
from cinelet.domain.backend import Context
from cinelet.domain.errors import (
    CineletError,
    DeadlineExceededError,
    GenerationCancelledError,
    HuggingFaceAPIError,
    ProcessingError,
    SubmissionUnknownError,
)
from cinelet.domain.progress import Stage
from cinelet.media.signature import HEAD_BYTES, describe
from cinelet.media.video_file import name_by_content, require_video
from cinelet.observability.quoting import host_text
from cinelet.transport.addresses import ForbiddenAddressError, public_addresses
from cinelet.transport.replies import request_id_of
from cinelet.transport.submission import submit_to_file

TOKEN_HOSTS = (".endpoints.huggingface.cloud", ".endpoints.huggingface.co")
"""Where Hugging Face runs endpoints; no other host is sent its token."""

MAX_JSON_BYTES = 128 * 1024 * 1024
"""A document is held in memory as a whole; a video of its own is not."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_DATA_URI = re.compile(r"\Adata:video/[\w.+-]{1,40};base64,")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint by its address. tokens: by host, of the operator's own endpoints, whose addresses may be private.

    hf_token: sent to Hugging Face's own endpoint hosts only, and by https only.
    """

    url: str
    hf_token: str | None = field(repr=False)
    tokens: Mapping[str, str] = field(repr=False)

    @property
    def host(self) -> str:
        """Its host, with the port where one is given."""
        return httpx2.URL(self.url).netloc.decode("ascii")

    def is_trusted(self) -> bool:
        """Tell whether the operator named this host, so that it may be private and plain http."""
        return self._own_token() is not None

    def token(self) -> str | None:
        """Return the token for it, or None."""
        own = self._own_token()
        if own is not None:
            return own or None
        url = httpx2.URL(self.url)
        theirs = url.scheme == "https" and url.port is None and url.host.endswith(TOKEN_HOSTS)
        return self.hf_token if theirs and (self.hf_token or "").startswith(HF_PREFIX) else None

    def _own_token(self) -> str | None:
        return self.tokens.get(self.host, self.tokens.get(httpx2.URL(self.url).host))


def endpoint_body(prompt: str | None, parameters: Mapping[str, Any], picture: Picture | None) -> Body:
    """Write the request: the prompt as `inputs`, or the picture in base64 with the prompt among the parameters."""
    if picture is None:
        return json_body({"inputs": prompt, "parameters": dict(parameters)})
    placeholder = new_placeholder()
    payload = {"inputs": placeholder, "parameters": {**({"prompt": prompt} if prompt else {}), **parameters}}
    return json_body_with_picture(payload, picture.data, placeholder=placeholder)


async def run(endpoint: Endpoint, body: Body, *, line: Line, context: Context) -> tuple[Path, str | None]:
    """Send the request, once, and return the video and the host's name for the request."""
    context.check()
    request = await _request(endpoint, body, line=line)
    await context.save_handle(handle.submitting(endpoint.url, ENDPOINT))
    context.report(Stage.DENOISING, WAITED, measured=False, note="the endpoint works, and tells no more")
    path = context.folder / "video.mp4"
    try:
        headers = await submit_to_file(
            line.client,
            request,
            path,
            what=f"the endpoint {endpoint.host}",
            provider=ENDPOINT,
            max_bytes=line.max_video_bytes,
            context=context,
            timeout_seconds=context.remaining_seconds(),
            check_head=_require_video_or_json,
            secrets=[endpoint.token() or ""],
        )
        await _unwrapped(path)
    except (SubmissionUnknownError, DeadlineExceededError, GenerationCancelledError):
        raise
    except CineletError as error:
        await context.save_handle(None)
        raise _waking(error, endpoint) from error.__cause__
    context.report(Stage.DOWNLOADING, DENOISED)
    return name_by_content(path), request_id_of(headers)


async def _request(endpoint: Endpoint, body: Body, *, line: Line) -> httpx2.Request:
    """Build the request; to a host that the operator did not name, it goes to a public address that was checked."""
    token = endpoint.token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    url = httpx2.URL(endpoint.url)
    if token and url.scheme != "https" and url.host not in _LOOPBACK:
        message = f"The token for {endpoint.host} is not sent by plain http"
        raise ForbiddenAddressError(f"{message}; give its address with https://", {"model": "Must be https"})
    if endpoint.is_trusted():
        return body.request(line.client, url, headers=headers)
    if url.scheme != "https":
        message = f"The endpoint {endpoint.host} must be called by https"
        raise ForbiddenAddressError(f"{message}, unless its host is listed with a token", {"model": "Must be https"})
    address, *_ = await public_addresses(url.host, url.port or 443, resolve=line.resolve)
    pinned = {**headers, "host": endpoint.host, "connection": "close"}
    request = body.request(line.client, url.copy_with(host=address), headers=pinned)
    request.extensions = {**request.extensions, "sni_hostname": url.host}
    return request


def _waking(error: CineletError, endpoint: Endpoint) -> CineletError:
    """Say that an endpoint without a replica is being started by the very request."""
    if not isinstance(error, HuggingFaceAPIError) or error.status != 503:
        return error
    return HuggingFaceAPIError(
        f"The endpoint {endpoint.host} is starting (status 503); try again in a few minutes",
        status=503,
        provider=ENDPOINT,
        request_id=error.request_id,
        retry_after=error.retry_after,
    )


def _require_video_or_json(head: bytes) -> None:
    if not _may_be_json(head):
        require_video(head)


async def _unwrapped(path: Path) -> None:
    """Take the video out of what a handler wrapped it in, in a thread that a cancel waits for."""
    unwrapping = asyncio.ensure_future(asyncio.to_thread(_unwrap, path))
    try:
        await asyncio.shield(unwrapping)
    except asyncio.CancelledError:
        await asyncio.wait({unwrapping})
        path.unlink(missing_ok=True)  # noqa: ASYNC240  (one name of one file)
        raise


def _unwrap(path: Path) -> None:
    """Replace a JSON document by the video in it: handlers that cannot answer with bytes put them there in base64."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if not _may_be_json(head):
            return
        video = None
        if path.stat().st_size <= MAX_JSON_BYTES:
            with contextlib.suppress(ValueError, RecursionError):
                video = _video_in(json.loads(path.read_bytes()))
        if video is None:
            raise ProcessingError(f"No video arrived, but {host_text(describe(head))}", "downloading")
        path.write_bytes(video)
    except OSError as error:
        path.unlink(missing_ok=True)
        message = f"The video cannot be written: {error.strerror or error}"
        raise ProcessingError(f"{message}; free some space", "downloading") from error
    except ProcessingError:
        path.unlink(missing_ok=True)
        raise


def _may_be_json(head: bytes) -> bool:
    return head.lstrip()[:1] in {b"{", b"[", b'"'}


def _video_in(value: Any, *, depth: int = 3) -> bytes | None:
    """Return the first text in JSON values that is a video in base64."""
    match value:
        case str():
            text = _DATA_URI.sub("", value[:100]) + value[100:]
            try:
                head = base64.b64decode(text[: HEAD_BYTES // 3 * 4], validate=True)
                require_video(head)
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError, ProcessingError):
                return None
        case dict() | list() if depth:
            items = value.values() if isinstance(value, dict) else value
            return next((video for item in items if (video := _video_in(item, depth=depth - 1))), None)
        case _:
            return None
