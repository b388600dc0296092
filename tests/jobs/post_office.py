"""Generations that have ended with a webhook, a courier, and the receiver that it finds wherever it goes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

from standardwebhooks import Webhook

from cinelet.jobs.courier import Courier
from cinelet.jobs.database import Database
from cinelet.jobs.deliveries import Deliveries, Delivery
from cinelet.jobs.generation import Generation
from cinelet.jobs.ledger import JobLedger
from cinelet.jobs.webhook_secrets import WebhookSecrets
from cinelet.transport.addresses import Resolver
from tests.transport.loopback import PUBLIC, Answer, Asked, Loopback, Server, reply, resolves_to

HOOK = "https://receiver.example/hook"
PROMPT = "a secret gull"
RESULT = {
    "blob": "videos/x.mp4", "video_size": 5, "duration": 1.0, "fps": 4, "frames": 4, "resolution": "64x48",
    "codec": "h264", "container": "mp4", "has_audio": False, "sha256": "ab", "seed": 7, "generation_time": 0.5,
    "cache": "miss", "asked": {"prompt": PROMPT}, "adjustments": [{"parameter": "prompt", "reason": PROMPT}],
}  # fmt: skip
TAKEN, BROKEN = reply(status=204), reply(status=500)


class PostOffice:
    """What a test needs: generations that end, attempts at their deliveries, and what the receiver was sent."""

    def __init__(self, ledger: JobLedger, database: Database, server: Server, courier: Courier) -> None:
        self.ledger = ledger
        self.database = database
        self.server = server
        self.courier = courier
        self.deliveries = Deliveries(database)
        self.secrets = WebhookSecrets(database)

    @property
    def asked(self) -> list[Asked]:
        return self.server.asked

    async def ended(
        self, how: str = "completed", *, owner: str = "shop", url: str | None = HOOK, request: Any = None
    ) -> Generation:
        """Return a generation that has ended, one way or another."""
        request = {"prompt": PROMPT} if request is None else request
        made = (await self.ledger.insert(request, owner=owner, requested_model="m", webhook_url=url)).generation
        if how == "cancelled":
            cancelled = await self.ledger.request_cancel(made.id)
            assert cancelled is not None
            return cancelled
        await self.ledger.claim(made.id, worker="w")
        if how == "failed":
            await self.ledger.fail(made.id, 1, error={"code": "no_capacity", "message": "No room"})
        else:
            await self.ledger.complete(made.id, 1, model="m", result=RESULT)
        ended = await self.ledger.get(made.id)
        assert ended is not None
        return ended

    async def attempt(self, generation: Generation) -> Delivery:
        """Make the next attempt now, whenever it is due, and return what the delivery is then."""
        await self.courier.deliver(delivery_of(generation))
        return await self.delivery(generation)

    async def delivery(self, generation: Generation) -> Delivery:
        (found,) = [one for one in (await self.all()) if one.generation_id == generation.id]
        return found

    async def all(self, **filters: Any) -> tuple[Delivery, ...]:
        return (await self.deliveries.list(limit=1000, **filters)).deliveries

    async def rows(self, statement: str, *values: Any) -> list[Any]:
        async with self.database.connection() as connection:
            done = await connection.execute(statement.encode(), list(values))
            return await done.fetchall() if done.description else []


def delivery_of(generation: Generation) -> str:
    return generation.id.replace("gen_", "evt_")


def verified(asked: Asked, secret: str) -> Any:
    """Return the event of a request whose signature the library of Standard Webhooks accepts."""
    return Webhook(secret).verify(asked.body, dict(asked.headers))


@asynccontextmanager
async def open_post_office(
    ledger: JobLedger,
    database: Database,
    *answers: Answer,
    resolve: Resolver | None = None,
    allow_private: bool = False,
    on_transport: Callable[[Loopback], None] = lambda _: None,
):
    """Open one whose courier takes every host for a public one, and finds the receiver there."""
    async with Server(list(answers) or [TAKEN]) as server:
        transport = Loopback(server.port)
        on_transport(transport)
        courier = Courier(
            database, allow_private=allow_private, resolve=resolve or resolves_to(PUBLIC), transport=transport
        )
        async with courier:
            yield PostOffice(ledger, database, server, courier)
