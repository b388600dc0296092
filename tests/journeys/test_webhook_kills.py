"""A worker is killed between sending a webhook and writing down that it did."""

from __future__ import annotations

import asyncio

from cinelet.jobs.deliveries import DeliveryState
from cinelet.jobs.webhook_secrets import WebhookSecrets
from tests.jobs.post_office import TAKEN, verified
from tests.jobs.shop import Shop
from tests.journeys.farm import Farm
from tests.transport.loopback import Asked, Server


def test_a_webhook_outlives_the_worker_that_was_sending_it(with_farm):
    async def work(shop: Shop, farm: Farm):
        async def kill_the_sender(_asked: Asked, writer: asyncio.StreamWriter) -> None:
            # It is killed while it waits for this, so it has sent, and can write nothing any more.
            farm.kill(farm.workers[-1])
            farm.start()
            writer.close()

        async with Server([kill_the_sender, kill_the_sender, TAKEN]) as server:
            farm.start()
            url = f"http://127.0.0.1:{server.port}/"
            # Asked for on a queue of this process, which allows no private receiver: only the workers do.
            made = await shop.submit(options={"standing_webhook_url": url})
            await shop.ended(made)
            async with asyncio.timeout(60):
                while not (await shop.jobs.deliveries.list(state=DeliveryState.DELIVERED)).deliveries:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            (delivery,) = (await shop.jobs.deliveries.list()).deliveries
            secret = await WebhookSecrets(shop.jobs.database).current(made.owner)
            return made, delivery, [verified(asked, secret) for asked in server.asked], server.asked, farm.kills

    made, delivery, events, asked, kills = with_farm(work, backend="deadly", queues={"remote": 2})
    assert kills == 2
    assert {event["data"]["id"] for event in events} == {made.id}
    assert len(asked) == delivery.attempts == 3
    assert {one.headers["webhook-id"] for one in asked} == {delivery.id}
