"""Webhooks: what is said, how it is signed, and how often it is tried."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import openai
import pytest
from standardwebhooks import WebhookVerificationError

from cinelet.jobs import courier as courier_module
from cinelet.jobs.courier import GIVE_UP_SECONDS, PAUSES_SECONDS
from cinelet.jobs.deliveries import DeliveryState
from tests.jobs.conftest import WithLedger
from tests.jobs.post_office import (
    BROKEN,
    HOOK,
    PROMPT,
    TAKEN,
    PostOffice,
    delivery_of,
    open_post_office,
    verified,
)
from tests.transport.loopback import Answer, Asked, hang, reply, reset

Work = Callable[[PostOffice], Awaitable[Any]]
PENDING, DELIVERED, FAILED = DeliveryState


@pytest.fixture
def with_post(with_ledger: WithLedger):
    """Return what runs a coroutine with a post office; answers: of the receiver, in turn."""

    def run(work: Work, *answers: Answer, **options: Any) -> Any:
        async def opened(ledger, database):
            async with open_post_office(ledger, database, *answers, **options) as post:
                return await work(post)

        return with_ledger(opened)

    return run


def test_the_signature_verifies_with_the_libraries_that_receivers_use(with_post):
    async def work(post: PostOffice):
        made = await post.ended()
        delivery = await post.attempt(made)
        return made, delivery, post.asked, await post.secrets.current("shop")

    made, delivery, (asked,), secret = with_post(work)
    assert (delivery.state, delivery.attempts, delivery.last_status) == (DELIVERED, 1, 204)
    event = verified(asked, secret)
    assert (event["type"], event["data"]["id"]) == ("video.completed", made.id)
    assert event["id"] == asked.headers["webhook-id"] == delivery.id
    with openai.OpenAI(api_key="none", webhook_secret=secret) as client:
        client.webhooks.verify_signature(asked.body, asked.headers)
        unwrapped: Any = client.webhooks.unwrap(asked.body, asked.headers)
        assert (unwrapped.type, unwrapped.data.id) == ("video.completed", made.id)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(asked.body + b" ", asked.headers)


@pytest.mark.parametrize(
    ("how", "kind", "code"),
    [("completed", "video.completed", None), ("failed", "video.failed", "no_capacity"), ("cancelled",) * 3],
)
def test_each_end_is_told_with_its_facts_and_without_the_prompt(with_post, how: str, kind: str, code: str | None):
    async def work(post: PostOffice):
        made = await post.ended(how)
        await post.attempt(made)
        return made, post.asked

    made, (asked,) = with_post(work)
    event = json.loads(asked.body)
    data = event["data"]
    assert event["type"] == ("video.failed" if how == "cancelled" else kind)
    assert event["created_at"] == int(made.finished_at.timestamp())
    assert (data["object"], data["model"], data["state"]) == ("video", "m", how)
    assert data["status"] == ("completed" if how == "completed" else "failed")
    assert (data["error"] or {}).get("code") == code
    assert (data["result"] or {}).get("resolution") == ("64x48" if how == "completed" else None)
    assert PROMPT.encode() not in asked.body
    assert asked.headers["content-type"] == "application/json"


def test_a_generation_without_a_webhook_writes_nothing_about_one(with_post):
    async def work(post: PostOffice):
        for how in ("completed", "failed", "cancelled"):
            await post.ended(how, url=None)
        return await post.all(), await post.rows("SELECT FROM procrastinate_jobs WHERE queue_name = 'webhooks'")

    assert with_post(work) == ((), [])


def test_the_end_enqueues_as_the_engine_itself_would(with_post):
    async def work(post: PostOffice):
        made = await post.ended()
        return made, await post.rows(
            "SELECT task_name, queue_name, args, status, queueing_lock FROM procrastinate_jobs"
            " WHERE queue_name = 'webhooks'"
        )

    made, (row,) = with_post(work)
    name = delivery_of(made)
    assert row == ("cinelet.deliver", "webhooks", {"delivery_id": name}, "todo", name)


def test_ten_attempts_are_made_within_two_hours_under_one_id(with_post):
    async def work(post: PostOffice):
        made = await post.ended()
        secret = await post.secrets.current("shop")
        seen = [await post.attempt(made) for _ in range(10)]
        jobs = await post.rows("SELECT FROM procrastinate_jobs WHERE queue_name = 'webhooks'")
        await post.attempt(made)
        return secret, seen, jobs, post.asked

    secret, seen, jobs, asked = with_post(work, BROKEN)
    assert [(one.state, one.attempts) for one in seen[:-1]] == [(PENDING, n) for n in range(1, 10)]
    pauses = [(one.next_at - one.last_attempt_at).total_seconds() for one in seen[:-1]]
    for pause, most in zip(pauses, PAUSES_SECONDS, strict=True):
        assert 0.8 * most <= pause <= most + 1
    assert pauses == sorted(pauses)
    attempts_and_lateness = 10 * 10 + 9 * 5
    assert sum(PAUSES_SECONDS) + attempts_and_lateness <= GIVE_UP_SECONDS == 7200
    last = seen[-1]
    assert (last.state, last.next_at, last.last_status) == (FAILED, None, 500)
    assert last.last_error == "The receiver answered 500"
    assert jobs == []
    assert len(asked) == 10, "what has failed is not tried again"
    assert {one.headers["webhook-id"] for one in asked} == {last.id}
    assert len({one.body for one in asked}) == 1
    assert all(verified(one, secret) for one in asked)


def test_the_job_of_the_next_attempt_waits_for_its_time_and_behind_first_attempts(with_post):
    async def work(post: PostOffice):
        made = await post.ended()
        delivery = await post.attempt(made)
        job = await post.rows("SELECT scheduled_at, priority FROM procrastinate_jobs WHERE queue_name = 'webhooks'")
        return delivery, job

    delivery, job = with_post(work, BROKEN)
    assert job == [(delivery.next_at, -1001)]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (reply(status=302, location="/elsewhere"), "The receiver answered 302, and no redirect is followed"),
        (reply(status=404), "The receiver answered 404"),
        (reset, "There was no answer (ReadError)"),
        (hang, "There was no answer within 0.3 s"),
        (reply(status=100, length=-1, then=hang), "There was no answer within 0.3 s"),
    ],
)
def test_whatever_is_no_success_is_tried_again(with_post, monkeypatch: pytest.MonkeyPatch, answer: Answer, why: str):
    monkeypatch.setattr(courier_module, "ATTEMPT_SECONDS", 0.3)

    async def work(post: PostOffice):
        made = await post.ended()
        first, second = await post.attempt(made), await post.attempt(made)
        return first, second, post.asked

    first, second, asked = with_post(work, answer, TAKEN)
    assert (first.state, first.last_error) == (PENDING, why)
    assert (second.state, second.last_error) == (DELIVERED, None)
    assert [one.target for one in asked] == ["/hook", "/hook"]


def test_a_receiver_that_is_gone_is_left_alone(with_post):
    async def work(post: PostOffice):
        return await post.attempt(await post.ended())

    delivery = with_post(work, reply(status=410))
    assert (delivery.state, delivery.attempts, delivery.last_status) == (FAILED, 1, 410)


@pytest.mark.parametrize(("asked_for", "given"), [("600", 600), ("1", 12), ("86400", GIVE_UP_SECONDS)])
def test_a_receiver_says_when_to_come_back_within_the_two_hours(with_post, asked_for: str, given: float):
    async def work(post: PostOffice):
        made = await post.ended()
        first = await post.attempt(made)
        await post.rows(
            "UPDATE webhook_deliveries SET first_attempt_at = first_attempt_at - interval '3 hours' WHERE id = %s",
            first.id,
        )
        return first, await post.attempt(made)

    first, second = with_post(work, reply(status=503, retry_after=asked_for))
    pause = (first.next_at - first.last_attempt_at).total_seconds()
    assert given <= pause <= max(given, PAUSES_SECONDS[0]) + 1
    assert second.state is FAILED, "its two hours are over"


def test_an_endless_answer_is_not_read(with_post):
    sent = 0

    async def endless(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    async def work(post: PostOffice):
        return await post.attempt(await post.ended())

    assert with_post(work, endless).state is DELIVERED
    assert sent < 16 * 1024 * 1024, "no more than buffers hold"


def test_what_nobody_foresaw_is_an_attempt_that_failed(with_post):
    async def resolve(_host: str, _port: int):
        raise RuntimeError("surprise")

    async def work(post: PostOffice):
        return await post.attempt(await post.ended())

    delivery = with_post(work, resolve=resolve)
    assert (delivery.state, delivery.last_error) == (PENDING, "The attempt failed: RuntimeError")


def test_after_a_rotation_both_secrets_verify_until_the_old_one_ends(with_post):
    async def work(post: PostOffice):
        old = await post.secrets.current("shop")
        other = await post.secrets.current("other")
        new = await post.secrets.rotate("shop", keep_seconds=3600)
        await post.attempt(await post.ended())
        await post.rows("UPDATE webhook_secrets SET expires_at = expires_at - interval '1 hour'")
        await post.attempt(await post.ended())
        newest = await post.secrets.rotate("shop", keep_seconds=0)
        await post.attempt(await post.ended())
        return old, new, newest, (other, await post.secrets.current("other")), post.asked

    old, new, newest, others, (during, after, at_once) = with_post(work)
    assert len({old, new, newest, *others}) == 4
    assert [len(asked.headers["webhook-signature"].split(" ")) for asked in (during, after, at_once)] == [2, 1, 1]
    assert verified(during, old) == verified(during, new)
    assert verified(after, new)
    assert verified(at_once, newest)
    for asked, secret in ((after, old), (at_once, new), (during, others[0])):
        with pytest.raises(WebhookVerificationError):
            verified(asked, secret)


def test_secrets_that_are_asked_for_at_once_are_one(with_post):
    async def work(post: PostOffice):
        return await asyncio.gather(*(post.secrets.current("new owner") for _ in range(8)))

    assert len(set(with_post(work))) == 1


def test_a_url_is_in_no_repr_and_no_log(with_post, caplog: pytest.LogCaptureFixture):
    async def work(post: PostOffice):
        made = await post.ended(url=f"{HOOK}/token-of-the-receiver")
        return made, await post.attempt(made)

    with caplog.at_level("DEBUG", logger="cinelet"):
        made, delivery = with_post(work, BROKEN)
    assert "The receiver answered 500" in [getattr(record, "reason", None) for record in caplog.records]
    for text in (repr(made), repr(delivery), *map(str, (vars(record) for record in caplog.records))):
        assert "token-of-the-receiver" not in text
    assert delivery.next_at - delivery.created_at < timedelta(minutes=1)
