"""A worker brings webhooks to their receivers beside its generations."""

from __future__ import annotations

import asyncio
import time

import pytest

from cinelet.domain.errors import ValidationError
from cinelet.jobs import courier as courier_module
from cinelet.jobs.deliveries import Delivery, DeliveryState
from cinelet.jobs.queue import restored_request
from cinelet.jobs.states import State
from cinelet.jobs.webhook_secrets import WebhookSecrets
from tests.jobs.post_office import TAKEN, verified
from tests.jobs.shop import SECONDS, PaidBackend, Shop
from tests.transport.loopback import Server, hang


async def deliveries(shop: Shop, *, reached: int, state: DeliveryState) -> tuple[Delivery, ...]:
    """Wait until so many deliveries are in a state."""
    async with asyncio.timeout(SECONDS):
        while len(found := (await shop.jobs.deliveries.list(state=state)).deliveries) < reached:  # noqa: ASYNC110  (another task does it)
            await asyncio.sleep(0.02)
    return found


def test_a_worker_tells_whom_the_request_names_and_else_whom_the_key_names(with_shop):
    async def work(shop: Shop):
        async with Server([TAKEN]) as server, shop.working():
            own, standing = (f"http://127.0.0.1:{server.port}/{name}" for name in ("own", "standing"))
            made = [
                await shop.submit(options={"webhook_url": own, "standing_webhook_url": standing}),
                await shop.submit(options={"standing_webhook_url": standing}),
                await shop.submit(),
            ]
            await deliveries(shop, reached=2, state=DeliveryState.DELIVERED)
            await shop.ended(made[2])
            secret = await WebhookSecrets(shop.jobs.database).current("local")
            told = {asked.target: verified(asked, secret)["data"]["id"] for asked in server.asked}
            return made, told, len(server.asked)

    made, told, count = with_shop(work, allow_private_webhooks=True)
    assert told == {"/own": made[0].id, "/standing": made[1].id}
    assert count == 2, "one delivery a generation, and none for the third"


def test_receivers_that_never_answer_hold_no_generation_back(with_shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(courier_module, "ATTEMPT_SECONDS", 1.0)

    async def work(shop: Shop):
        async with Server([hang]) as server:
            url = f"http://127.0.0.1:{server.port}/"
            async with shop.working(remote=1):
                silent = [await shop.submit(f"gull {n}", options={"webhook_url": url}) for n in range(3)]
                ended = [await shop.ended(one) for one in silent]
                while not server.connections:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                began = time.monotonic()
                after = await shop.ended(await shop.submit("after"))
                took = time.monotonic() - began
            left = await shop.jobs.deliveries.list(state=DeliveryState.PENDING)
            return [one.state for one in [*ended, after]], took, left

    states, took, left = with_shop(work, allow_private_webhooks=True)
    assert states == [State.COMPLETED] * 4
    assert took < SECONDS / 2
    assert {one.last_error for one in left.deliveries} <= {"There was no answer within 1 s", None}
    assert len(left.deliveries) == 3


def test_a_worker_of_local_models_alone_sends_none(with_shop):
    async def work(shop: Shop):
        return [sorted(shop.worker(remote=remote, local=1)._queues) for remote in (0, 1)]

    assert with_shop(work) == [["local"], ["local", "remote", "webhooks"]]


@pytest.mark.parametrize("url", ["http://example.org/", "https://10.0.0.1/", "https://user@example.org/", "", "x"])
def test_a_request_with_a_wrong_address_makes_nothing(with_shop, url: str):
    async def work(shop: Shop):
        with pytest.raises(ValidationError) as refused:
            await shop.submit(options={"webhook_url": url})
        return refused.value.details, await shop.engine_jobs()

    details, jobs = with_shop(work)
    assert list(details) == ["webhook_url"]
    assert jobs == 0


def test_what_is_tried_again_tells_the_same_receiver(with_shop):
    url = "https://receiver.example/hook"

    async def work(shop: Shop):
        for options in ({"webhook_url": url}, {"standing_webhook_url": url}):
            made = await shop.submit(options=options)
            cancelled = await shop.ledger.request_cancel(made.id)
            assert cancelled is not None
            again = await shop.queue.retry(cancelled)
            assert again.webhook_url == url
            request = await restored_request(again.request, shop.jobs.store)
            assert request.prompt == "a gull"
        return (await shop.jobs.deliveries.list()).deliveries

    assert len(with_shop(work)) == 2


def test_each_of_two_identical_generations_is_told_of(with_shop):
    url = "https://receiver.example/hook"

    backend = PaidBackend()

    async def work(shop: Shop):
        async with shop.working():
            both = [await shop.submit(seed=3, options={"webhook_url": url}) for _ in range(2)]
            assert both[1].follows == both[0].id
            backend.may_end.set()
            for one in both:
                await shop.ended(one)
            return both, (await shop.jobs.deliveries.list()).deliveries

    both, told = with_shop(work, make_backend=lambda: backend, cache=True)
    assert {one.generation_id for one in told} == {one.id for one in both}
