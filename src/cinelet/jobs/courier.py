"""Brings webhooks to their receivers: signed as Standard Webhooks has it, again and again until one takes it.

| the receiver | then |
|---|---|
| answers 2xx within 10 s | delivered |
| answers 410 | failed: it wants no more of them |
| leads into a network, and that is not allowed | failed, and nothing was connected to |
| answers anything else, a redirect too, or nothing | tried again: ten attempts, within two hours |
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self

import httpx2
from standardwebhooks import Webhook

from cinelet.domain.errors import CineletError, ValidationError
from cinelet.jobs.database import Database
from cinelet.jobs.deliveries import Deliveries, Delivery, DeliveryState
from cinelet.jobs.ledger import JobLedger
from cinelet.jobs.webhook_address import webhook_address
from cinelet.jobs.webhook_event import event_body
from cinelet.jobs.webhook_secrets import WebhookSecrets
from cinelet.observability.logs import bound, get_logger
from cinelet.observability.tracing import SpanKind, describe, span
from cinelet.transport.addresses import Resolver, system_resolver
from cinelet.transport.client import Timeouts, make_client
from cinelet.transport.pinning import pinned_requests
from cinelet.transport.replies import retry_after_seconds

ATTEMPT_SECONDS = 10.0
"""For all of an attempt: the name, the connection, and the receiver's answer."""
PAUSES_SECONDS = (15, 45, 120, 300, 600, 900, 1200, 1500, 2100)
"""Between ten attempts, at most: 113 minutes in all. Each is cut by up to a fifth, so that many do not come at once."""
LEAST_SHARE = 0.8
GIVE_UP_SECONDS = 2 * 3600.0
"""After the first attempt no other begins later than this."""
_GONE = 410
_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of an attempt. error: None where it was a success. final: it is of no use to try again."""

    status: int | None
    error: str | None
    retry_after: float | None = None
    final: bool = False


class Courier:
    """Makes attempts, on one client that is opened with the first; an async context manager that closes it.

    allow_private: whether a receiver may be inside a network, and be spoken to without TLS. transport: what sends
    instead, for tests.
    """

    def __init__(
        self,
        database: Database,
        *,
        allow_private: bool,
        resolve: Resolver = system_resolver,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._deliveries = Deliveries(database)
        self._ledger = JobLedger(database)
        self._secrets = WebhookSecrets(database)
        self._allow_private = allow_private
        self._resolve = resolve
        self._transport = transport
        self._random = random.SystemRandom()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        if "_client" in vars(self):
            await self._client.aclose()

    @cached_property
    def _client(self) -> httpx2.AsyncClient:
        timeouts = Timeouts(connect_seconds=ATTEMPT_SECONDS / 2, read_seconds=ATTEMPT_SECONDS)
        return make_client(timeouts=timeouts, transport=self._transport)

    async def deliver(self, delivery_id: str) -> None:
        """Make one attempt, and write down what became of it. Whoever dies in between: it is made again."""
        delivery = await self._deliveries.begin(delivery_id)
        if delivery is None:
            return
        generation = await self._ledger.get(delivery.generation_id)
        if generation is None:
            return
        body = event_body(delivery, generation)
        secrets = await self._secrets.signing(delivery.owner)
        about: dict[str, Any] = {"delivery": delivery.id, "attempt": delivery.attempts, "event": delivery.type}
        with (
            bound(generation=generation.id),
            span("webhook", kind=SpanKind.CLIENT, parent=generation.traceparent, **about) as attempt,
        ):
            outcome = await self._attempted(delivery, body, secrets)
            describe(attempt, status=outcome.status, refused=outcome.error)
            await self._note(delivery, outcome)

    async def _note(self, delivery: Delivery, outcome: _Outcome) -> None:
        pause = None
        if outcome.error is None:
            state = DeliveryState.DELIVERED
        else:
            pause = None if outcome.final else self._pause(delivery, outcome.retry_after)
            state = DeliveryState.FAILED if pause is None else DeliveryState.PENDING
            facts = {"delivery": delivery.id, "attempt": delivery.attempts, "reason": outcome.error}
            _logger.info("A webhook was not taken", extra={**facts, "again_in_seconds": pause})
        await self._deliveries.end(
            delivery, state=state, status=outcome.status, error=outcome.error, pause_seconds=pause
        )

    def _pause(self, delivery: Delivery, retry_after: float | None) -> float | None:
        """Return the seconds until the next attempt; None for no other."""
        began, now = delivery.first_attempt_at, delivery.last_attempt_at
        left = GIVE_UP_SECONDS - ((now - began).total_seconds() if began and now else 0)
        if delivery.attempts > len(PAUSES_SECONDS) or left <= 0:
            return None
        pause = PAUSES_SECONDS[delivery.attempts - 1] * self._random.uniform(LEAST_SHARE, 1)
        return min(max(pause, retry_after or 0), left)

    async def _attempted(self, delivery: Delivery, body: str, secrets: Sequence[str]) -> _Outcome:
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                response = await self._sent(delivery, body, secrets)
        except TimeoutError:
            return _Outcome(None, f"There was no answer within {ATTEMPT_SECONDS:g} s")
        except ValidationError as error:
            return _Outcome(None, "; ".join(error.details.values()), final=True)
        except CineletError as error:
            return _Outcome(None, str(error))
        except httpx2.HTTPError as error:
            return _Outcome(None, f"There was no answer ({type(error).__name__})")
        except Exception as error:  # the door of an attempt: whatever it is, the delivery must come to an end
            _logger.exception("A webhook failed in a way that nobody foresaw", extra={"delivery": delivery.id})
            return _Outcome(None, f"The attempt failed: {type(error).__name__}")
        status = response.status_code
        if response.is_success:
            return _Outcome(status, None)
        more = ", and no redirect is followed" if response.is_redirect else ""
        return _Outcome(
            status,
            f"The receiver answered {status}{more}",
            retry_after=retry_after_seconds(response.headers),
            final=status == _GONE,
        )

    async def _sent(self, delivery: Delivery, body: str, secrets: Sequence[str]) -> httpx2.Response:
        """Send it, and return the answer, of whose body nothing is read."""
        url = webhook_address(delivery.url, allow_private=self._allow_private)
        now = datetime.now(UTC)
        content = body.encode("ascii")
        headers = {
            "Content-Type": "application/json",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(Webhook(secret).sign(delivery.id, now, body) for secret in secrets),
        }
        if self._allow_private:
            return await self._answer(self._client.build_request("POST", url, headers=headers, content=content))
        requests = await pinned_requests(
            self._client, "POST", url, headers=headers, content=content, resolve=self._resolve
        )
        for request in requests[:-1]:
            try:
                return await self._answer(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await self._answer(requests[-1])

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._client.send(request, stream=True)
        await response.aclose()
        return response
