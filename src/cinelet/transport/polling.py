"""Asking about a job until it is done: a poll that fails does not abandon the job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from cinelet.clock import Clock, watched
from cinelet.domain.backend import Context
from cinelet.observability import metrics
from cinelet.observability.logs import get_logger
from cinelet.observability.tracing import SpanKind, describe, span
from cinelet.transport.replies import json_object, refusal, retry_after_seconds

FETCH_TIMEOUT_SECONDS = 60.0
"""For one poll as a whole: a reply that drips is given up."""
MAX_WAIT_SECONDS = 60.0
"""The longest wait that a host may ask for."""
MAX_REFUSALS = 5
MAX_TOKEN_REFUSALS = 3

_Result = TypeVar("_Result")
_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """How long to wait between polls: a share of the job's age, so that its end is noticed late by about that share.

    first_seconds: a job younger than this is not asked about. jitter: each wait is drawn from `1 - jitter` to
    `1 + jitter` of itself.
    """

    first_seconds: float = 2.0
    share: float = 0.12
    minimum_seconds: float = 0.25
    maximum_seconds: float = 15.0
    minimum_after_failure_seconds: float = 1.0
    jitter: float = 0.1

    def after(self, age_seconds: float, *, failures: int = 0) -> float:
        """Return the interval that follows a poll at this age; it doubles with each poll in a row that failed."""
        least = self.minimum_after_failure_seconds * 2 ** min(failures - 1, 10) if failures else self.minimum_seconds
        return min(max(self.share * age_seconds, least), self.maximum_seconds)

    def jittered(self, seconds: float, *, random: Callable[[], float]) -> float:
        """Return the interval as it is waited. random: draws from 0 to 1."""
        return seconds * (1 + self.jitter * (2 * random() - 1))


async def poll(
    fetch: Callable[[], Awaitable[httpx2.Response]],
    read: Callable[[dict[str, Any]], _Result | None],
    *,
    context: Context,
    clock: Clock,
    what: str,
    provider: str,
    schedule: PollSchedule,
    random: Callable[[], float],
    age_seconds: float | None = None,
    hint: Callable[[Mapping[str, str]], float | None] = retry_after_seconds,
    secrets: Sequence[str] = (),
) -> _Result:
    """Ask with `fetch` until `read` makes something of the JSON object that comes, by the schedule.

    A reset, a timeout, a 5xx, a 429 or anything that is no JSON object is asked again. Only refusals end it: 3 in a row
    of the token (401, 403), 5 in a row of the job (any other 3xx or 4xx); they raise with `accepted=True`. `read` may
    report progress, and what it raises goes through. age_seconds: since the job was accepted; without it the first poll
    is at once. hint: seconds that a reply asks to wait, obeyed up to 60. random: draws from 0 to 1, as `random.random`.
    secrets: what the host's words are quoted without.
    """
    with span("poll", kind=SpanKind.CLIENT, host=provider) as polling:
        began = clock.monotonic() - (age_seconds or 0.0)
        if age_seconds is not None and age_seconds < schedule.first_seconds:
            await clock.pause_async(
                schedule.jittered(schedule.first_seconds - age_seconds, random=random), context=context
            )
        failures = refusals = token_refusals = polls = 0
        while True:
            polls += 1
            reply = await watched(_asked(fetch, provider=provider), context=context)
            found = None if reply is None or not reply.is_success else json_object(reply)
            if found is not None and (result := read(found)) is not None:
                describe(polling, polls=polls)
                return result
            failures = failures + 1 if found is None else 0
            status = 0 if reply is None else reply.status_code
            token_refusals = token_refusals + 1 if status in {401, 403} else 0
            refusals = refusals + 1 if 300 <= status < 500 and status not in {401, 403, 408, 425, 429} else 0
            if failures:
                polling.add_event("poll failed", {"cinelet.poll": polls, "http.response.status_code": status})
            if reply is not None and (token_refusals == MAX_TOKEN_REFUSALS or refusals == MAX_REFUSALS):
                raise refusal(reply, what=what, provider=provider, accepted=True, secrets=secrets)
            wait = schedule.jittered(schedule.after(clock.monotonic() - began, failures=failures), random=random)
            wanted = None if reply is None else hint(reply.headers)
            if wanted is not None:
                least = schedule.minimum_after_failure_seconds if failures else schedule.minimum_seconds
                wait = min(max(wanted, least), MAX_WAIT_SECONDS)
            await clock.pause_async(wait, context=context)


async def _asked(fetch: Callable[[], Awaitable[httpx2.Response]], *, provider: str) -> httpx2.Response | None:
    """Return the reply to one poll, or None where there was none."""
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
            reply = await fetch()
    except (httpx2.RequestError, TimeoutError) as error:
        metrics.polled(provider, "failed")
        _logger.info("A poll failed", extra={"provider": provider, "reason": type(error).__name__})
        return None
    metrics.polled(provider, "answered" if reply.is_success else "refused")
    if not reply.is_success:
        _logger.info("A poll was refused", extra={"provider": provider, "status": reply.status_code})
    return reply
