"""A file from an address that nobody vouches for: checked, pinned, limited, resumed, and named when it is whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from cinelet.clock import Clock, watched
from cinelet.domain.backend import Context
from cinelet.domain.errors import CineletError, HuggingFaceAPIError, ProcessingError
from cinelet.observability.tracing import SpanKind, describe, span
from cinelet.transport.addresses import ForbiddenAddressError, Resolver, system_resolver
from cinelet.transport.part_file import STAGE, PartFile, announced_bytes, removed_on_failure, require_plain_body
from cinelet.transport.pinning import pinned_requests, port_of
from cinelet.transport.replies import read_whole, refusal, retry_after_seconds

MAX_TRIES = 3
MAX_REDIRECTS = 5
MAX_RETRY_AFTER_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 1.0
STALL_SECONDS = 60.0
STALL_BYTES = 64 * 1024
"""Less than this in `STALL_SECONDS` is no transfer any more."""
REPORT_BYTES = 1024 * 1024
"""How often progress is reported."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(?:\d{1,19}|\*)", re.ASCII)


async def download(
    url: str,
    path: Path,
    *,
    client: httpx2.AsyncClient,
    context: Context,
    clock: Clock,
    max_bytes: int,
    resolve: Resolver = system_resolver,
    headers: Mapping[str, str] | None = None,
    allow_private: bool = False,
    report: Callable[[int, int | None], None] | None = None,
    check_head: Callable[[bytes], None] | None = None,
    what: str = "the video",
) -> None:
    """Write what `url` leads to into `path`: all of it, or nothing is left there.

    The host is resolved once a connection, every address is checked, and the connection goes to what was checked; so
    again at each redirect, of which 5 are followed. A transfer that breaks off is taken up where it was (`Range`), or
    begun anew: 3 tries in all, as for 408, 429 and 5xx.

    max_bytes: one more is a `FileSizeError`, announced or not. headers: sent to the origin of `url` only.
    allow_private: that origin is the operator's own choice, so it may be private and plain http; what it redirects to
    may not. report: bytes so far, and in all if known. check_head: sees the first 4096 bytes, and raises if they are no
    video. what: names the file in messages.

    Raises `ForbiddenAddressError`, `FileSizeError`, `CapacityError`, `HuggingFaceAPIError` (the host's refusal,
    `accepted=True`), `ProcessingError` (stage "downloading"), and what the context raises.
    """
    transfer = _Transfer(
        client=client,
        context=context,
        clock=clock,
        first=_parsed(url),
        headers=dict(headers or {}),
        allow_private=allow_private,
        resolve=resolve,
        report=report,
        what=what,
    )
    part = PartFile(path, max_bytes=max_bytes, check_head=check_head)
    with removed_on_failure(path), span("download", kind=SpanKind.CLIENT, host=transfer.first.host) as downloading:
        await watched(transfer.run(part), context=context)
        describe(downloading, bytes=part.size)


class _Interrupted(Exception):  # noqa: N818  (never leaves this file)
    """A try that may be repeated; `error` is raised if it was the last. retry_after: seconds that the host asks for."""

    def __init__(self, error: CineletError, *, retry_after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after


@dataclass(slots=True)
class _Transfer:
    client: httpx2.AsyncClient
    context: Context
    clock: Clock
    first: httpx2.URL
    headers: Mapping[str, str]
    allow_private: bool
    resolve: Resolver
    report: Callable[[int, int | None], None] | None
    what: str
    version: str | None = field(init=False, default=None)
    """The strong ETag of what has arrived so far: without it, the rest cannot be known to belong to it."""

    async def run(self, part: PartFile) -> None:
        with part:
            pause = FIRST_PAUSE_SECONDS
            for remaining_tries in reversed(range(MAX_TRIES)):
                try:
                    await self._try(part)
                    break
                except _Interrupted as interruption:
                    if not remaining_tries:
                        raise interruption.error from interruption.__cause__
                    wait = pause if interruption.retry_after is None else interruption.retry_after
                    await self.clock.pause_async(min(wait, MAX_RETRY_AFTER_SECONDS), context=self.context)
                    pause *= 2
            await part.finish()

    async def _try(self, part: PartFile) -> None:
        resume = {"Range": f"bytes={part.size}-", "If-Range": self.version} if part.size and self.version else {}
        response = await self._open(resume)
        host = response.request.headers["host"]
        async with aclosing(response):
            if response.status_code == 200:
                part.restart()
            elif not (resume and self._continues(response, part.size)):
                await self._refuse(response, host=host)
            require_plain_body(response, host=host)
            etag = response.headers.get("etag", "")
            self.version = etag if etag.startswith('"') else None
            announced = announced_bytes(response)
            pace = _Pace(self.clock, self.report, part, total=None if announced is None else part.size + announced)
            try:
                await part.fill(response, on_chunk=pace.check)
            except httpx2.RequestError as error:
                message = f"{self.what} from {host} broke off after {part.size:,} bytes ({type(error).__name__})"
                raise _Interrupted(ProcessingError(_sentence(message), STAGE)) from error
            pace.end()

    def _continues(self, response: httpx2.Response, size: int) -> bool:
        """Tell whether a 206 holds what follows the bytes that have arrived."""
        begins = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        begins_there = begins is not None and int(begins[1]) == size
        return response.status_code == 206 and begins_there and response.headers.get("etag") == self.version

    async def _refuse(self, response: httpx2.Response, *, host: str) -> None:
        answered = await read_whole(response)
        secrets = [value.rpartition(" ")[2] for value in self.headers.values()]
        error = refusal(answered, what=self.what, provider=host, accepted=True, secrets=secrets)
        if answered.status_code in {206, 416}:
            self.version = None  # no rest of what has arrived: the next try asks for all of it
        if answered.status_code in {206, 408, 416, 425, 429} or answered.status_code >= 500:
            raise _Interrupted(error, retry_after=retry_after_seconds(answered.headers))
        raise error

    async def _open(self, resume: Mapping[str, str]) -> httpx2.Response:
        """Ask, and follow redirects; returns a streamed reply that is none."""
        url, headers, trusted = self.first, self.headers, self.allow_private
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._send(url, {**headers, **resume}, trusted=trusted)
            if not response.has_redirect_location:
                return response
            await response.aclose()
            url = _parsed(response.headers["location"], base=url)
            if _origin(url) != _origin(self.first):
                headers, trusted = {}, False
        message = f"{self.what} at {self.first.host} is behind more than {MAX_REDIRECTS} redirects"
        raise ProcessingError(_sentence(message), STAGE)

    async def _send(self, url: httpx2.URL, headers: Mapping[str, str], *, trusted: bool) -> httpx2.Response:
        _require_safe(url, plain_allowed=trusted)
        shared = {**headers, "Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"}
        if trusted:
            return await self._request(self.client.build_request("GET", url, headers=shared))
        try:
            requests = await pinned_requests(self.client, "GET", url, headers=shared, resolve=self.resolve)
        except HuggingFaceAPIError as error:
            raise _Interrupted(error) from error
        failures: list[_Interrupted] = []
        for request in requests:
            try:
                return await self._request(request)
            except _Interrupted as interruption:
                if not isinstance(interruption.__cause__, (httpx2.ConnectError, httpx2.ConnectTimeout)):
                    raise
                failures.append(interruption)
        raise failures[-1]

    async def _request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await self.client.send(request, stream=True)
        except httpx2.RequestError as error:
            host = request.headers["host"]
            message = f"{host} cannot be reached for {self.what} ({type(error).__name__})"
            raise _Interrupted(HuggingFaceAPIError(message, provider=host, accepted=True)) from error


@dataclass(slots=True)
class _Pace:
    """Reports a transfer, and ends one that has all but stopped."""

    clock: Clock
    report: Callable[[int, int | None], None] | None
    part: PartFile
    total: int | None
    reported: int = field(init=False)
    since: float = field(init=False)
    size_then: int = field(init=False)

    def __post_init__(self) -> None:
        self.reported = self.size_then = self.part.size
        self.since = self.clock.monotonic()

    def check(self) -> None:
        if self.part.size - self.reported >= REPORT_BYTES:
            self.end()
        now = self.clock.monotonic()
        if now - self.since >= STALL_SECONDS:
            if self.part.size - self.size_then < STALL_BYTES:
                raise httpx2.ReadTimeout(f"Less than {STALL_BYTES} bytes in {STALL_SECONDS:g} s")
            self.since, self.size_then = now, self.part.size

    def end(self) -> None:
        self.reported = self.part.size
        if self.report is not None:
            self.report(self.part.size, self.total)


def _parsed(url: str, *, base: httpx2.URL | None = None) -> httpx2.URL:
    try:
        return httpx2.URL(url) if base is None else base.join(url)
    except (httpx2.InvalidURL, ValueError) as error:
        raise _forbidden("The address of the video cannot be read", "Not an address") from error


def _require_safe(url: httpx2.URL, *, plain_allowed: bool) -> None:
    if url.scheme != "https" and not (plain_allowed and url.scheme == "http"):
        raise _forbidden(f"A video is fetched by https only, not by {url.scheme[:20]!r}", "Must begin with https://")
    if url.userinfo:
        raise _forbidden(f"The address of the video at {url.host[:100]!r} holds a user", "Must hold no user")
    if not url.host or not 0 < port_of(url) < 65536:
        raise _forbidden("The address of the video has no usable host or port", "Needs a host")


def _forbidden(why: str, detail: str) -> ForbiddenAddressError:
    return ForbiddenAddressError(f"{why}; the host that gave it is at fault", {"url": detail})


def _origin(url: httpx2.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
