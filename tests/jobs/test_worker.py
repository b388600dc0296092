"""A worker brings generations to an end, and lets go of them without loss when it is stopped."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from cinelet.domain.errors import CapacityError, HuggingFaceAPIError, ValidationError
from cinelet.domain.request import Task
from cinelet.jobs.errors import ClaimLostError
from cinelet.jobs.states import State
from cinelet.media.probe import probe
from cinelet.testing import FakeBackend, example_image
from tests.jobs.shop import PaidBackend, Shop


def test_a_generation_becomes_a_stored_video_with_measured_facts(with_shop, tmp_path):
    async def work(shop: Shop):
        async with shop.working():
            done = await shop.ended(await shop.submit(seed=5))
        assert await shop.engine_jobs() == 0
        return done, await shop.queue.save(done, tmp_path / "saved.mp4")

    done, path = with_shop(work)
    assert (done.state, done.progress, done.attempt, done.crashes) == (State.COMPLETED, 1.0, 1, 0)
    facts = probe(path)
    assert done.result["sha256"] == facts.sha256
    assert (done.result["resolution"], done.result["frames"]) == (facts.resolution, facts.frames)
    assert done.model == "hf:org/model:fal-ai"


def test_an_image_comes_back_as_it_was_given(with_shop):
    backend, image = FakeBackend(), example_image()

    async def work(shop: Shop):
        async with shop.working():
            return await shop.ended(await shop.submit(task=Task.IMAGE_TO_VIDEO, image=image))

    done = with_shop(work, make_backend=lambda: backend)
    assert done.state is State.COMPLETED
    assert [request.image for request in backend.requests] == [image]
    assert hashlib.sha256(image).hexdigest() in done.request["image_key"]


def test_a_damaged_stored_image_is_refused(with_shop, tmp_path):
    async def work(shop: Shop):
        made = await shop.submit(task=Task.IMAGE_TO_VIDEO, image=example_image())
        (tmp_path / "store" / made.request["image_key"]).write_bytes(b"other")
        async with shop.working():
            return await shop.ended(made)

    done = with_shop(work)
    assert done.state is State.FAILED
    assert "damaged" in done.error["message"]


def test_a_failure_is_kept_with_its_cause(with_shop):
    error = HuggingFaceAPIError("fal-ai refused it", status=500, provider="fal-ai", request_id="r-1")

    async def work(shop: Shop):
        async with shop.working():
            return await shop.ended(await shop.submit())

    done = with_shop(work, make_backend=lambda: FakeBackend(error=error))
    assert done.state is State.FAILED
    assert (done.error["code"], done.error["provider"]) == ("model_host_failed", "fal-ai")


def test_what_waits_is_cancelled_at_once_and_leaves_the_queue(with_shop):
    async def work(shop: Shop):
        made = await shop.submit()
        cancelled = await shop.ledger.request_cancel(made.id)
        return cancelled, await shop.engine_jobs()

    cancelled, left = with_shop(work)
    assert (cancelled.state, left) == (State.CANCELLED, 0)


def test_what_runs_is_cancelled_within_a_step(with_shop):
    backend = FakeBackend(steps=1000, step_seconds=0.05)

    async def work(shop: Shop):
        async with shop.working():
            made = await shop.submit()
            running = await shop.until(made, lambda found: found.step > 1)
            await shop.ledger.request_cancel(made.id)
            return running, await shop.ended(made)

    running, ended = with_shop(work, make_backend=lambda: backend)
    assert ended.state is State.CANCELLED
    assert (ended.finished_at - running.started_at).total_seconds() < 10


def test_a_cancel_reaches_the_provider(with_shop):
    backend = PaidBackend()

    async def work(shop: Shop):
        async with shop.working():
            made = await shop.submit()
            await shop.until(made, lambda found: (found.handle or {}).get("id") is not None)
            await shop.ledger.request_cancel(made.id)
            return await shop.ended(made)

    assert with_shop(work, make_backend=lambda: backend).state is State.CANCELLED
    assert (backend.submitted, backend.cancelled) == (1, 1)


def test_a_cancel_of_a_job_that_waits_with_its_provider_is_done_by_the_next_worker(with_shop):
    backend = PaidBackend()

    async def work(shop: Shop):
        async with shop.working():
            made = await shop.submit()
            await shop.until(made, lambda found: (found.handle or {}).get("id") is not None)
        await shop.ledger.request_cancel(made.id)
        assert (await shop.get(made)).state is State.QUEUED
        async with shop.working():
            return await shop.ended(made)

    assert with_shop(work, make_backend=lambda: backend).state is State.CANCELLED
    assert (backend.submitted, backend.resumed, backend.cancelled) == (1, 1, 1)


@pytest.mark.parametrize("cache", [False, True])
def test_a_stopping_worker_hands_over_what_runs_at_a_provider(with_shop, cache):
    backend = PaidBackend()

    async def work(shop: Shop):
        async with shop.working():
            made = [await shop.submit(f"gull {n}", seed=n) for n in range(3)]
            for one in made:
                await shop.until(one, lambda found: (found.handle or {}).get("id") is not None)
        between = [await shop.get(one) for one in made]
        assert {one.state for one in between} == {State.QUEUED}
        assert all(one.handle and one.crashes == 0 for one in between)
        backend.may_end.set()
        async with shop.working():
            return [await shop.ended(one) for one in made]

    done = with_shop(work, make_backend=lambda: backend, cache=cache)
    assert {one.state for one in done} == {State.COMPLETED}
    assert (backend.submitted, backend.resumed, backend.cancelled) == (3, 3, 0)


def test_a_stopping_worker_waits_for_a_submission_to_be_answered(with_shop):
    backend = PaidBackend()
    backend.accepts.clear()

    async def work(shop: Shop):
        async with shop.working() as worker:
            made = await shop.submit()
            await shop.until(made, lambda found: bool((found.handle or {}).get("submitting")))
            worker.stop()
            await asyncio.sleep(0.3)
            assert (await shop.get(made)).state is State.IN_PROGRESS
            backend.accepts.set()
        return await shop.get(made)

    left = with_shop(work, make_backend=lambda: backend)
    assert left.state is State.QUEUED
    assert left.handle["id"] == "job-1"


@pytest.mark.parametrize(("steps", "state"), [(4, State.COMPLETED), (10_000, State.QUEUED)])
def test_what_runs_here_gets_some_time_and_then_goes_back_to_the_queue(with_shop, steps, state):
    async def work(shop: Shop):
        async with shop.working(remote=0, local=1, grace_seconds=1.0):
            made = await shop.submit(model="embedded")
            await shop.until(made, lambda found: found.step > 0)
        return await shop.get(made)

    left = with_shop(work, make_backend=lambda: FakeBackend(steps=steps, step_seconds=0.1))
    assert left.state is state
    assert left.crashes == 0


def test_a_lost_worker_is_noticed_and_its_work_taken_over(with_shop):
    backend = PaidBackend()
    backend.may_end.set()

    async def work(shop: Shop):
        made = await shop.submit()
        lost = await shop.claim(made.id, worker="lost")
        await shop.ledger.save_handle(made.id, lost.attempt, {"model": "m", "id": "job-of-the-lost"})
        await _lose_worker(shop)
        async with shop.working():
            done = await shop.ended(made)
        with pytest.raises(ClaimLostError):
            await shop.ledger.fail(made.id, lost.attempt, error={})
        return done

    done = with_shop(work, make_backend=lambda: backend)
    assert (done.state, done.attempt) == (State.COMPLETED, 2)
    assert done.crashes == 0, "no worker dies of waiting for a provider"
    assert (backend.submitted, backend.resumed) == (0, 1)


def test_what_was_being_sent_when_a_worker_was_lost_is_never_sent_again(with_shop):
    from cinelet.backends.openai_videos import OpenAIVideosBackend

    async def work(shop: Shop):
        model = "openai:wan@https://engine.example/v1"
        made = await shop.submit(model=model)
        lost = await shop.claim(made.id, worker="lost")
        handle = {"model": model, "backend": "openai_videos", "provider": "engine.example", "submitting": True}
        await shop.ledger.save_handle(made.id, lost.attempt, handle)
        await _lose_worker(shop)
        async with shop.working():
            failed = await shop.ended(made)
        with pytest.raises(ValidationError, match="--anyway"):
            await shop.queue.retry(failed)
        return failed, await shop.queue.retry(failed, anyway=True)

    failed, again = with_shop(work, make_backend=OpenAIVideosBackend)
    assert failed.error["code"] == "submission_unknown"
    assert (again.state, again.handle) == (State.QUEUED, None)


def test_a_generation_that_costs_three_workers_is_given_up(with_shop):
    async def work(shop: Shop):
        made = await shop.submit()
        attempt = None
        for _ in range(4):
            claimed = await shop.claim(made.id, worker="lost", lost_attempt=attempt)
            attempt = claimed.attempt
            await _lose_worker(shop)
        async with shop.working():
            return await shop.ended(made)

    done = with_shop(work)
    assert done.state is State.FAILED
    assert "workers were lost" in done.error["message"]


def test_a_worker_that_lost_its_claim_writes_nothing_and_cancels_nothing(with_shop):
    backend = PaidBackend()

    async def work(shop: Shop):
        async with shop.working():
            made = await shop.submit()
            held = await shop.until(made, lambda found: (found.handle or {}).get("id") is not None)
            taken = await shop.claim(made.id, worker="other", lost_attempt=held.attempt)
            # The next report of the first worker tells it.
            async with asyncio.timeout(10):
                while backend.cancelled == 0 and await shop.engine_jobs():  # noqa: ASYNC110  (in the database)
                    await asyncio.sleep(0.02)
        return taken, await shop.get(made)

    taken, after = with_shop(work, make_backend=lambda: backend)
    assert (after.state, after.worker, after.attempt) == (State.IN_PROGRESS, "other", taken.attempt)
    assert backend.cancelled == 0


def test_identical_requests_in_flight_are_made_once(with_shop):
    backend = FakeBackend(steps=10, step_seconds=0.03)

    async def work(shop: Shop):
        async with shop.working():
            made = await asyncio.gather(*(shop.submit(seed=7) for _ in range(5)))
            return [await shop.ended(one) for one in made]

    done = with_shop(work, make_backend=lambda: backend, cache=True)
    assert {one.state for one in done} == {State.COMPLETED}
    assert len({one.result["sha256"] for one in done}) == 1
    assert len(backend.requests) == 1
    assert sorted(one.result["cache"] for one in done) == ["hit"] * 4 + ["made"]


def test_where_the_first_of_identical_requests_is_cancelled_the_next_one_is_made(with_shop):
    backend = FakeBackend()

    async def work(shop: Shop):
        first, second, third = [await shop.submit(seed=7) for _ in range(3)]
        assert (first.follows, second.follows, third.follows) == (None, first.id, first.id)
        await shop.ledger.request_cancel(first.id)
        assert (await shop.get(second)).follows is None
        assert (await shop.get(third)).follows == second.id
        async with shop.working():
            return [await shop.ended(one) for one in (second, third)]

    done = with_shop(work, make_backend=lambda: backend, cache=True)
    assert [one.result["cache"] for one in done] == ["made", "hit"]
    assert len(backend.requests) == 1


@pytest.mark.parametrize("values", [{}, {"seed": 7, "cache": "off"}, {"seed": 7, "cache": "refresh"}])
def test_what_means_another_video_each_time_is_not_joined(with_shop, values):
    async def work(shop: Shop):
        return [await shop.submit(**values) for _ in range(2)]

    assert [one.follows for one in with_shop(work, cache=True)] == [None, None]


def test_higher_priorities_go_first_and_the_position_says_so(with_shop):
    backend = FakeBackend()

    async def work(shop: Shop):
        low = await shop.submit("low")
        high = await shop.submit("high", options={"priority": 5})
        middle = await shop.submit("middle", options={"priority": 1})
        places = [await shop.ledger.position(one.id) for one in (low, high, middle)]
        async with shop.working(remote=1):
            for one in (low, high, middle):
                await shop.ended(one)
        return places, await shop.ledger.position(low.id)

    places, after = with_shop(work, make_backend=lambda: backend)
    assert (places, after) == ([2, 0, 1], None)
    assert [request.prompt for request in backend.requests] == ["high", "middle", "low"]


def test_a_delayed_generation_begins_when_it_is_due(with_shop):
    async def work(shop: Shop):
        async with shop.working():
            made = await shop.submit(options={"not_before": datetime.now(UTC) + timedelta(seconds=1)})
            return await shop.ended(made)

    done = with_shop(work)
    assert done.state is State.COMPLETED
    assert done.started_at >= done.not_before


def test_a_full_queue_refuses_more(with_shop):
    async def work(shop: Shop):
        for _ in range(3):
            await shop.submit()
        with pytest.raises(CapacityError, match="3 generations wait"):
            await shop.submit()

    with_shop(work, max_waiting=3)


def test_an_idempotency_key_gives_the_same_generation_whatever_became_of_it(with_shop):
    async def work(shop: Shop):
        made = await asyncio.gather(*(shop.submit(options={"idempotency_key": "k"}) for _ in range(20)))
        async with shop.working():
            await shop.ended(made[0])
        return {
            one.id for one in [*made, await shop.submit(options={"idempotency_key": "k"})]
        }, await shop.ledger.list()

    ids, page = with_shop(work)
    assert len(ids) == len(page.generations) == 1


def test_a_retry_goes_on_with_the_job_that_a_provider_has(with_shop):
    backend = PaidBackend()
    backend.may_end.set()

    async def work(shop: Shop):
        made = await shop.submit()
        claimed = await shop.claim(made.id, worker="w")
        await shop.ledger.save_handle(made.id, claimed.attempt, {"model": "m", "id": "paid-for"})
        await shop.ledger.fail(made.id, claimed.attempt, error={"code": "storage_failed", "message": "full"})
        failed = await shop.get(made)
        async with shop.working():
            done = await shop.ended(await shop.queue.retry(failed))
            with pytest.raises(ValidationError):
                await shop.queue.retry(done)
        return done

    assert with_shop(work, make_backend=lambda: backend).state is State.COMPLETED
    assert (backend.submitted, backend.resumed) == (0, 1)


async def _lose_worker(shop: Shop) -> None:
    """Leave the engine as a killed worker does after some time: its job runs, and it is gone."""
    async with shop.jobs.database.connection() as connection:
        await connection.execute("DELETE FROM procrastinate_jobs WHERE status = 'todo'")


def test_a_retry_of_what_failed_at_a_provider_is_a_new_job_there(with_shop):
    backend = PaidBackend()
    backend.may_end.set()

    async def work(shop: Shop):
        made = await shop.submit()
        claimed = await shop.claim(made.id, worker="w")
        over = {"model": "m", "id": "paid-for", "ended": True}
        await shop.ledger.save_handle(made.id, claimed.attempt, over)
        await shop.ledger.fail(made.id, claimed.attempt, error={"code": "model_host_failed", "message": "no"})
        failed = await shop.get(made)
        async with shop.working():
            return await shop.ended(await shop.queue.retry(failed))

    assert with_shop(work, make_backend=lambda: backend).state is State.COMPLETED
    assert (backend.submitted, backend.resumed) == (1, 0)
