"""What a reply says: its JSON, when to come back, how the host names the request, which of our errors a refusal is."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from cinelet.domain.errors import (
    AuthenticationError,
    CineletError,
    HuggingFaceAPIError,
    ModelNotFoundError,
    ModelUnsupportedError,
    PaymentRequiredError,
    RateLimitError,
    ValidationError,
)
from cinelet.observability.quoting import host_text

MAX_REPLY_BYTES = 16 * 1024 * 1024
"""More than any host has to say about a job, and little enough to be held."""

_REQUEST_ID_HEADERS = (
    "x-request-id",
    "x-fal-request-id",
    "request-id",
    "x-amzn-trace-id",
    "x-amz-request-id",
    "cf-ray",
)
_SECONDS = re.compile(r"\d+(?:\.\d*)?", re.ASCII)
_QUOTA_RESET = re.compile(r"(?:^|;)\s*t=(\d+)", re.ASCII)


async def exchange(
    client: httpx2.AsyncClient, request: httpx2.Request, *, max_bytes: int = MAX_REPLY_BYTES
) -> httpx2.Response:
    """Send a request and return the reply with its body read; raises `httpx2.RequestError`s only.

    A success with a longer body than `max_bytes` is a `DecodingError`; of a refusal as much is kept as arrived.
    """
    response = await client.send(request, stream=True)
    return await read_whole(response, max_bytes=max_bytes)


async def read_whole(response: httpx2.Response, *, max_bytes: int = MAX_REPLY_BYTES) -> httpx2.Response:
    """Read a streamed reply and close it, under the rules of `exchange`."""
    body = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > max_bytes:
                raise httpx2.DecodingError(f"The reply has more than {max_bytes} bytes", request=response.request)
    except httpx2.RequestError:
        if response.is_success:
            raise
    finally:
        await response.aclose()
    # The headers of the body as it was sent would make the library decode it again.
    sent = {"content-encoding", "content-length", "transfer-encoding"}
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in sent]
    return httpx2.Response(response.status_code, headers=headers, content=bytes(body), request=response.request)


def json_object(response: httpx2.Response) -> dict[str, Any] | None:
    """Return the JSON object that a reply holds, or None if it holds anything else."""
    try:
        value = json.loads(response.content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def retry_after_seconds(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """Return how long the host asks to wait, or None if it does not say; never negative, and not capped.

    It says so as `Retry-After` (seconds or an HTTP date), or as the Hub does: `RateLimit: "api";r=0;t=55`.
    """
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    if text:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        # "-0000" means a time in UTC of a place that is not told.
        aware = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, (aware - (now or datetime.now(UTC))).total_seconds())
    reset = _QUOTA_RESET.search(headers.get("ratelimit", "")[:500])
    return float(reset[1]) if reset and len(reset[1]) < 10 else None


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the host's own name for a request, for a question to its support."""
    found = (headers.get(name, "").strip() for name in _REQUEST_ID_HEADERS)
    return next((value[:200] for value in found if value and value.isprintable()), None)


def refusal(
    response: httpx2.Response, *, what: str, provider: str, accepted: bool = False, secrets: Sequence[str] = ()
) -> CineletError:
    """Return the error that a reply without success is; its body has been read.

    what: what was asked for, as the message names it: the model's reference, "the video". accepted: the host had taken
    the work before, so that the refusal is of the job and not of the request. secrets: what must not be quoted.
    """
    status = response.status_code
    body = _body(response)
    text = host_text(body, secrets=secrets)
    said = f": {text}" if text else ""
    retry_after = retry_after_seconds(response.headers)
    facts: dict[str, Any] = {
        "status": status,
        "provider": provider,
        "request_id": request_id_of(response.headers),
        "retry_after": retry_after,
        "accepted": accepted,
    }
    if not accepted and status in {400, 422} and _names_no_model(body):
        status = 404
    match status:
        case 401 | 403:
            message = f"{provider} refuses the token for {what} (status {status}){said}"
            return AuthenticationError(f"{message}; set one that may use it", **facts)
        case 402:
            message = f"{provider} wants to be paid for {what} (status 402){said}"
            return PaymentRequiredError(f"{message}; add credit there, or choose another provider", **facts)
        case 429:
            when = "later" if retry_after is None else f"in {math.ceil(retry_after)} s"
            return RateLimitError(f"{provider} counts too many requests{said}; try {what} again {when}", **facts)
        case _ if accepted or status >= 500:
            return HuggingFaceAPIError(f"{provider} failed at {what} (status {status}){said}; try again later", **facts)
        case 404:
            return ModelNotFoundError(
                f"{provider} does not have {what} (status 404){said}; check the spelling", **facts
            )
        case 400 | 413 | 422:
            message = f"{provider} refuses the request for {what} (status {status}){said}; change it"
            return ValidationError(message, {"request": text or f"Refused with status {status}"})
        case _:
            message = f"{provider} does not serve {what} in this way (status {status}){said}; use another model"
            return ModelUnsupportedError(message, what)


def _names_no_model(body: Any) -> bool:
    """Tell whether a refusal says, in OpenAI's way, that the model is what is wrong with the request."""
    error = body.get("error") if isinstance(body, dict) else None
    return isinstance(error, dict) and error.get("code") in {"model_not_found", "invalid_model"}


def _body(response: httpx2.Response) -> Any:
    """Return what a refusal's body says; pages and XML are for browsers and machines, and say nothing here."""
    found = json_object(response)
    if found is not None:
        return found
    text = response.text.strip()
    return "" if text.startswith(("<", "\ufeff<")) or "\0" in text else text
