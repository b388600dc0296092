"""The list of deliveries, what is delivered again, and what lost workers leave behind."""

from __future__ import annotations

import pytest

from cinelet.jobs.deliveries import DeliveryState
from tests.jobs.conftest import WithLedger
from tests.jobs.post_office import BROKEN, TAKEN, PostOffice, delivery_of, open_post_office

PENDING, DELIVERED, FAILED = DeliveryState
STARTED = (
    "UPDATE procrastinate_jobs SET fetched_at = fetched_at - make_interval(secs => %s)"
    " WHERE queue_name = 'webhooks' RETURNING 1"
)
FETCH = "SELECT id FROM take_jobs(ARRAY['webhooks'], NULL, 1)"
JOBS = "SELECT status::text FROM procrastinate_jobs WHERE queue_name = 'webhooks'"


@pytest.fixture
def with_post(with_ledger: WithLedger):
    def run(work, *answers):
        async def opened(ledger, database):
            async with open_post_office(ledger, database, *answers) as post:
                return await work(post)

        return with_ledger(opened)

    return run


def test_what_is_delivered_is_pending_no_more(with_post):
    async def work(post: PostOffice):
        made = [await post.ended() for _ in range(3)]
        before = len(await post.all(state=PENDING))
        await post.attempt(made[1])
        pending = {one.generation_id for one in await post.all(state=PENDING)}
        delivered = [one.generation_id for one in await post.all(state=DELIVERED)]
        return made, before, pending, delivered, await post.rows(JOBS)

    made, before, pending, delivered, jobs = with_post(work)
    assert before == 3
    assert pending == {made[0].id, made[2].id}
    assert delivered == [made[1].id]
    assert jobs == [("todo",), ("todo",)]


def test_a_list_has_pages_and_shows_an_owner_his_own(with_post):
    async def work(post: PostOffice):
        mine = [await post.ended(owner="shop") for _ in range(5)]
        await post.ended(owner="other")
        pages, after = [], None
        while True:
            page = await post.deliveries.list(owner="shop", limit=2, after=after)
            pages.append([one.generation_id for one in page.deliveries])
            after = page.next
            if after is None:
                return [one.id for one in mine], pages, len(await post.all())

    mine, pages, everybodys = with_post(work)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [one for page in pages for one in page] == mine[::-1]
    assert everybodys == 6


@pytest.mark.parametrize("attempts", [0, 1, 10])
def test_what_is_delivered_again_has_its_id_and_all_its_attempts(with_post, attempts: int):
    async def work(post: PostOffice):
        made = await post.ended()
        for _ in range(attempts):
            await post.attempt(made)
        name = delivery_of(made)
        refused = await post.deliveries.redeliver(name, owner="other")
        again = await post.deliveries.redeliver(name, owner="shop")
        jobs = await post.rows(JOBS)
        done = await post.attempt(made)
        return refused, again, jobs, done, post.asked

    refused, again, jobs, done, asked = with_post(work, *[BROKEN] * attempts, TAKEN)
    assert refused is None
    assert (again.state, again.attempts, again.first_attempt_at) == (PENDING, 0, None)
    assert jobs == [("todo",)]
    assert (done.state, done.attempts) == (DELIVERED, 1)
    assert {one.headers["webhook-id"] for one in asked} == {done.id}


@pytest.mark.parametrize("name", ["", "evt_", "evt_" + "a" * 26, "evt_" + "A" * 26, "evt_" + "a" * 5000, "\0"])
def test_what_is_no_delivery_is_none(with_post, name: str):
    async def work(post: PostOffice):
        await post.courier.deliver(name)
        return await post.deliveries.redeliver(name)

    assert with_post(work) is None


def test_a_deleted_generation_takes_its_delivery_along(with_post):
    async def work(post: PostOffice):
        made = await post.ended()
        await post.ledger.delete(made.id)
        await post.courier.deliver(delivery_of(made))
        return await post.all(), post.asked

    assert with_post(work) == ((), [])


def test_an_attempt_that_was_overtaken_writes_nothing(with_post):
    async def work(post: PostOffice):
        made = await post.ended()
        frozen = await post.deliveries.begin(delivery_of(made))
        assert frozen is not None
        await post.deliveries.begin(delivery_of(made))
        written = await post.deliveries.end(frozen, state=FAILED, status=None, error="late")
        return written, await post.delivery(made)

    written, delivery = with_post(work)
    assert not written
    assert (delivery.state, delivery.attempts, delivery.last_error) == (PENDING, 2, None)


@pytest.mark.parametrize(("seconds", "requeued"), [(31, 1), (20, 0)])
def test_an_attempt_that_has_not_ended_in_time_was_lost(with_post, seconds: int, requeued: int):
    async def work(post: PostOffice):
        made = await post.ended()
        await post.rows(FETCH)
        await post.rows(STARTED, seconds)
        ((first,),) = await post.rows("SELECT requeue_lost_deliveries(30)")
        ((second,),) = await post.rows("SELECT requeue_lost_deliveries(30)")
        return first, second, await post.rows(JOBS), await post.delivery(made)

    first, second, jobs, delivery = with_post(work)
    assert (first, second) == (requeued, 0)
    assert jobs == [("todo" if requeued else "doing",)]
    assert delivery.state is PENDING


def test_a_job_that_is_gone_comes_back_only_for_what_is_pending(with_post):
    async def work(post: PostOffice):
        pending, done = await post.ended(), await post.ended()
        await post.attempt(done)
        await post.rows("DELETE FROM procrastinate_jobs")
        await post.rows("SELECT requeue_lost_deliveries(30)")
        return pending, await post.rows("SELECT queueing_lock FROM procrastinate_jobs")

    pending, jobs = with_post(work)
    assert jobs == [(delivery_of(pending),)]
