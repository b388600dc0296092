"""A POST that makes a host work: sent once, and never again unless it surely did not arrive.

| what happened | error | sent again |
|---|---|---|
| no connection, no room in the pool, 429, 503 | `HuggingFaceAPIError`, `RateLimitError` | may be |
| 400, 413, 422 | `ValidationError` | no |
| 401, 403 | `AuthenticationError` | no |
| 402 | `PaymentRequiredError` | no |
| 404 | `ModelNotFoundError` | no |
| another 3xx or 4xx | `ModelUnsupportedError` | no |
| 408, 500, 502, 504, another 5xx | `SubmissionUnknownError` | never |
| no reply in time, one that breaks off, a success that cannot be read | `SubmissionUnknownError` | never |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Literal

import httpx2

from cinelet.clock import watched
from cinelet.domain.backend import Context
from cinelet.domain.errors import CineletError, HuggingFaceAPIError, SubmissionUnknownError
from cinelet.observability import metrics
from cinelet.observability.tracing import SpanKind, describe, span
from cinelet.transport.part_file import PartFile, removed_on_failure, require_plain_body
from cinelet.transport.replies import exchange, read_whole, refusal, request_id_of

_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)


async def submit(
    client: httpx2.AsyncClient,
    request: httpx2.Request,
    *,
    what: str,
    provider: str,
    timeout_seconds: float | None = None,
    context: Context | None = None,
    secrets: Sequence[str] = (),
) -> httpx2.Response:
    """Send the request once; return the success, its body read, or raise as the table above says.

    what: the model, as messages name it. timeout_seconds: for all of it; the client's own limits hold as well. context:
    whose cancel and deadline end the wait; the outcome is then unknown, too.
    """

    async def send() -> httpx2.Response:
        with _counted(provider):
            with _outcome(what=what, provider=provider):
                async with asyncio.timeout(timeout_seconds):
                    response = await exchange(client, request)
            if response.is_success:
                return response
            raise _refused(response, what=what, provider=provider, secrets=secrets)

    with span("submit", kind=SpanKind.CLIENT, host=provider) as sent:
        response = await (send() if context is None else watched(send(), context=context))
        describe(sent, status=response.status_code, request_id=request_id_of(response.headers))
        return response


async def submit_to_file(
    client: httpx2.AsyncClient,
    request: httpx2.Request,
    path: Path,
    *,
    what: str,
    provider: str,
    max_bytes: int,
    context: Context,
    timeout_seconds: float | None,
    check_head: Callable[[bytes], None] | None = None,
    secrets: Sequence[str] = (),
) -> httpx2.Headers:
    """Send the request once to a host that answers with the file; write that to `path` and return the headers.

    timeout_seconds: for all of it; so long may the host be silent, for it works meanwhile. max_bytes, check_head: as in
    `download`. A body that breaks off is an unknown outcome: the work was done, and cannot be had a second time.
    """
    limits = request.extensions.get("timeout", {})
    request.extensions = {**request.extensions, "timeout": {**limits, "read": timeout_seconds}}
    request.headers["Accept-Encoding"] = "identity"

    async def send() -> httpx2.Headers:
        # An endpoint is counted by its host, as attempts and circuits are.
        with _counted(request.headers["host"].lower()), _outcome(what=what, provider=provider):
            async with asyncio.timeout(timeout_seconds):
                response = await client.send(request, stream=True)
                async with aclosing(response):
                    if not response.is_success:
                        raise _refused(await read_whole(response), what=what, provider=provider, secrets=secrets)
                    require_plain_body(response, host=provider)
                    with PartFile(path, max_bytes=max_bytes, check_head=check_head) as part:
                        await part.fill(response)
                        await part.finish()
                return response.headers

    with removed_on_failure(path), span("submit", kind=SpanKind.CLIENT, host=provider):
        return await watched(send(), context=context)


def submission_unknown(
    *, what: str, provider: str, why: str, response: httpx2.Response | None = None
) -> SubmissionUnknownError:
    """Return the error for a POST that may have arrived. why: "the reply names no job"."""
    message = f"Nobody knows whether {provider} took the request for {what}: {why}"
    return SubmissionUnknownError(
        f"{message}; it may run and be billed, so it is not sent again: look into the account there",
        status=None if response is None else response.status_code,
        provider=provider,
        request_id=None if response is None else request_id_of(response.headers),
    )


def _refused(response: httpx2.Response, *, what: str, provider: str, secrets: Sequence[str]) -> CineletError:
    status = response.status_code
    if status == 408 or (status >= 500 and status != 503):
        return submission_unknown(what=what, provider=provider, why=f"it answered {status}", response=response)
    return refusal(response, what=what, provider=provider, secrets=secrets)


@contextmanager
def _counted(provider: str) -> Iterator[None]:
    """Count how a POST ended; one that is broken off may have arrived."""
    outcome: Literal["accepted", "refused", "unsent", "unknown"] = "unknown"
    try:
        yield
        outcome = "accepted"
    except SubmissionUnknownError:
        raise
    except HuggingFaceAPIError as error:
        outcome = "unsent" if error.status is None else "refused"
        raise
    except CineletError:
        outcome = "refused"
        raise
    finally:
        metrics.submitted(provider, outcome)


@contextmanager
def _outcome(*, what: str, provider: str) -> Iterator[None]:
    """Translate what the HTTP library raises about a POST."""
    try:
        yield
    except _NOT_SENT as error:
        message = f"{provider} cannot be reached for {what} ({type(error).__name__})"
        # That error quotes the header it cannot send, which may be the token.
        cause = None if isinstance(error, httpx2.LocalProtocolError) else error
        raise HuggingFaceAPIError(f"{message}; check the address and the network", provider=provider) from cause
    except (httpx2.RequestError, TimeoutError) as error:
        why = f"no whole reply came ({type(error).__name__})"
        raise submission_unknown(what=what, provider=provider, why=why) from error
