"""What the ledger promises to clients and to workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from cinelet.domain.errors import ValidationError
from cinelet.domain.progress import Progress, Stage
from cinelet.jobs.errors import ClaimLostError, IdempotencyConflictError
from cinelet.jobs.generation import Generation, is_id, new_id
from cinelet.jobs.outcomes import Tried
from cinelet.jobs.states import State

REQUEST = {"task": "text-to-video", "prompt": "a red circle\0", "seed": 2**63 - 1}


async def queued(ledger, **values):
    return (await ledger.insert(REQUEST, **{"owner": "ada", "requested_model": "embedded", **values})).generation


async def claimed(ledger, **values):
    generation = await queued(ledger, **values)
    return await ledger.claim(generation.id, worker="first")


def test_an_id_is_readable_and_nobody_can_guess_it():
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(is_id(one) and one.startswith("gen_") and len(one) == 4 + 26 for one in ids)  # 26 x 5 bits
    assert len({one[-1] for one in ids}) == 32  # the last character is as random as the others


def test_a_new_generation_waits_with_what_was_asked_for(with_ledger):
    async def work(ledger, _):
        due = datetime.now(UTC) + timedelta(hours=1)
        made = await queued(ledger, priority=3, not_before=due, cache_key="c")
        return due, made, await ledger.get(made.id)

    due, made, found = with_ledger(work)
    assert made == found
    assert (made.state, made.progress, made.attempt, made.request) == (State.QUEUED, 0, 0, REQUEST)
    assert (made.priority, made.not_before, made.cache_key) == (3, due, "c")
    assert made.created_at.utcoffset() == timedelta(0)
    assert "red" not in repr(made)


@pytest.mark.parametrize("odd", ["", "../x", "gen_%00", "gen_" + "\0" * 26, "gen_" + "A" * 26, "g" * 4096, "gen_ü"])
def test_an_odd_id_is_the_id_of_nothing(with_ledger, odd):
    async def work(ledger, _):
        assert await ledger.get(odd) is None
        assert await ledger.claim(odd, worker="w") is None
        assert await ledger.request_cancel(odd) is None
        assert await ledger.delete(odd) is False
        with pytest.raises(ClaimLostError):
            await ledger.release(odd, 1)

    with_ledger(work)


def test_what_belongs_to_another_looks_as_if_it_did_not_exist(with_ledger):
    async def work(ledger, _):
        made = await queued(ledger)
        assert await ledger.get(made.id, owner="eve") is None
        assert await ledger.request_cancel(made.id, owner="eve") is None
        assert await ledger.delete(made.id, owner="eve") is False
        assert (await ledger.list(owner="eve")).generations == ()
        assert await ledger.get(made.id, owner="ada") == made

    with_ledger(work)


def test_fifty_concurrent_inserts_with_one_key_make_one_generation(with_ledger):
    async def work(ledger, _):
        return await asyncio.gather(
            *(ledger.insert(REQUEST, owner="ada", requested_model="m", idempotency_key="k") for _ in range(50))
        )

    inserted = with_ledger(work)
    assert len({one.generation.id for one in inserted}) == 1
    assert sum(one.created for one in inserted) == 1


def test_a_key_used_again_gives_the_same_generation_after_it_has_ended(with_ledger):
    async def work(ledger, _):
        first = await claimed(ledger, idempotency_key="k")
        await ledger.complete(first.id, first.attempt, model="m", result={"size": 1})
        done = await ledger.get(first.id)
        again = await ledger.insert(
            dict(reversed(REQUEST.items())), owner="ada", requested_model="embedded", idempotency_key="k"
        )
        assert not again.created
        assert again.generation == done

    with_ledger(work)


def test_a_key_used_for_another_request_is_refused(with_ledger):
    async def work(ledger, _):
        await queued(ledger, idempotency_key="k")
        with pytest.raises(IdempotencyConflictError):
            await queued(ledger, idempotency_key="k", requested_model="other")
        with pytest.raises(IdempotencyConflictError):
            await ledger.insert({}, owner="ada", requested_model="embedded", idempotency_key="k")

    with_ledger(work)


def test_keys_belong_to_their_owner_and_no_key_joins_nothing(with_ledger):
    async def work(ledger, _):
        made = [await queued(ledger, idempotency_key="k", owner=owner) for owner in ("ada", "bob")]
        made += [await queued(ledger), await queued(ledger)]
        return {one.id for one in made}

    assert len(with_ledger(work)) == 4


@pytest.mark.parametrize("key", ["", "x" * 256, "a\0b", "a\nb", "\ud800"])
def test_a_key_that_cannot_be_kept_is_refused(with_ledger, key):
    async def work(ledger, _):
        with pytest.raises(ValidationError) as refused:
            await queued(ledger, idempotency_key=key)
        assert list(refused.value.details) == ["idempotency_key"]

    with_ledger(work)


def test_an_insert_joins_the_transaction_that_it_is_given(with_ledger):
    async def work(ledger, database):
        async with database.connection() as connection:
            async with connection.transaction(force_rollback=True):
                lost = await queued(ledger, connection=connection)
            async with connection.transaction():
                kept = await queued(ledger, connection=connection)
                assert await ledger.get(kept.id) is None  # not yet committed
        assert await ledger.get(lost.id) is None
        assert await ledger.get(kept.id) == kept

    with_ledger(work)


def test_only_one_of_many_workers_gets_a_generation(with_ledger):
    async def work(ledger, _):
        made = await queued(ledger)
        return await asyncio.gather(*(ledger.claim(made.id, worker=f"w{n}") for n in range(20)))

    winners = [one for one in with_ledger(work) if one is not None]
    assert len(winners) == 1
    assert (winners[0].state, winners[0].attempt, winners[0].crashes) == (State.IN_PROGRESS, 1, 0)
    assert winners[0].started_at is not None


def test_a_generation_that_is_not_yet_due_is_not_claimed(with_ledger):
    async def work(ledger, _):
        now = datetime.now(UTC)
        later = await queued(ledger, not_before=now + timedelta(hours=1))
        due = await queued(ledger, not_before=now - timedelta(seconds=1))
        return await ledger.claim(later.id, worker="w"), await ledger.claim(due.id, worker="w")

    later, due = with_ledger(work)
    assert later is None
    assert due is not None


def test_a_worker_that_lost_its_claim_writes_nothing(with_ledger):
    async def work(ledger, _):
        first = await claimed(ledger)
        assert await ledger.claim(first.id, worker="second") is None
        second = await ledger.claim(first.id, worker="second", lost_attempt=first.attempt)
        assert (second.attempt, second.crashes, second.worker) == (2, 1, "second")
        claim = (first.id, first.attempt)
        for write in (
            ledger.save_handle(*claim, {"model": "m"}),
            ledger.progress(*claim, Progress(Stage.DENOISING, 0.5)),
            ledger.complete(*claim, model="m", result={}),
            ledger.fail(*claim, error={}),
            ledger.cancel(*claim),
            ledger.release(*claim),
        ):
            with pytest.raises(ClaimLostError, match="Attempt 1 of gen_"):
                await write
        assert await ledger.get(first.id) == second

    with_ledger(work)


@pytest.mark.parametrize(("aside", "crashes"), [(False, 0), (True, 1)])
def test_a_worker_that_is_lost_while_a_provider_works_is_no_crash_but_after_that_job_it_is(with_ledger, aside, crashes):
    async def work(ledger, _):
        first = await claimed(ledger)
        handle = {"model": "hf:a/b:fal-ai", "id": "x"}
        await ledger.save_handle(first.id, 1, {**handle, "aside": True} if aside else handle)
        await ledger.progress(first.id, 1, Progress(Stage.DENOISING, 0.5))
        second = await ledger.claim(first.id, worker="second", lost_attempt=1)
        assert second.crashes == crashes

    with_ledger(work)


def test_a_saved_handle_is_there_for_the_next_worker(with_ledger):
    async def work(ledger, _):
        handle = {"model": "hf:a/b:fal-ai", "id": "x\0", "submitting": True}
        first = await claimed(ledger)
        await ledger.save_handle(first.id, 1, handle)
        await ledger.release(first.id, 1)
        released = await ledger.get(first.id)
        assert (released.state, released.worker, released.crashes) == (State.QUEUED, None, 0)
        second = await ledger.claim(first.id, worker="second")
        assert second.handle == handle
        assert second.started_at == first.started_at
        await ledger.save_handle(first.id, 2, None)
        assert (await ledger.get(first.id)).handle is None

    with_ledger(work)


def test_progress_only_grows_and_is_whole_only_when_the_video_is_stored(with_ledger):
    async def work(ledger, _):
        one = await claimed(ledger)
        seen = []
        for fraction in (0.5, 0.2, 1.0):
            await ledger.progress(one.id, 1, Progress(Stage.DENOISING, fraction, step=3, steps=9))
            seen.append(await ledger.get(one.id))
        await ledger.complete(one.id, 1, model="m", result={"sha256": "s"}, tried=Tried([{"model": "m"}]))
        return seen, await ledger.get(one.id)

    seen, done = with_ledger(work)
    assert [one.progress for one in seen] == [0.5, 0.5, 0.99]
    assert (seen[0].stage, seen[0].step, seen[0].steps) == ("denoising", 3, 9)
    assert (done.progress, done.result, done.attempts, done.model) == (1, {"sha256": "s"}, [{"model": "m"}], "m")
    assert (done.worker, done.handle) == (None, None)
    assert done.finished_at >= done.started_at >= done.created_at


def test_what_waits_is_cancelled_at_once(with_ledger):
    async def work(ledger, _):
        made = await queued(ledger)
        cancelled = await ledger.request_cancel(made.id)
        assert (cancelled.state, cancelled.finished_at is None) == (State.CANCELLED, False)
        assert await ledger.claim(made.id, worker="w") is None

    with_ledger(work)


def test_what_runs_is_told_to_stop_with_its_next_report(with_ledger):
    async def work(ledger, _):
        one = await claimed(ledger)
        report = Progress(Stage.DENOISING, 0.1)
        assert await ledger.progress(one.id, 1, report) is False
        assert (await ledger.request_cancel(one.id)).state is State.IN_PROGRESS
        assert await ledger.progress(one.id, 1, report) is True
        await ledger.cancel(one.id, 1)
        assert (await ledger.get(one.id)).state is State.CANCELLED

    with_ledger(work)


def test_a_cancelled_generation_that_a_provider_runs_goes_to_a_worker_first(with_ledger):
    async def work(ledger, _):
        one = await claimed(ledger)
        await ledger.save_handle(one.id, 1, {"model": "m"})
        await ledger.release(one.id, 1)
        # Only a worker can cancel it at the provider, where it would be billed on.
        assert (await ledger.request_cancel(one.id)).state is State.QUEUED
        again = await ledger.claim(one.id, worker="w")
        assert again.cancel_requested
        await ledger.release(one.id, 2)
        assert (await ledger.get(one.id)).state is State.QUEUED
        await ledger.claim(one.id, worker="w")
        await ledger.save_handle(one.id, 3, None)
        await ledger.release(one.id, 3)
        assert (await ledger.get(one.id)).state is State.CANCELLED

    with_ledger(work)


def test_two_hundred_races_of_cancel_against_complete_end_in_one_state_each(with_ledger):
    async def race(ledger, number):
        one = await claimed(ledger)
        ends = {
            State.COMPLETED: ledger.complete(one.id, 1, model="m", result={}),
            State.CANCELLED: ledger.cancel(one.id, 1),
            None: ledger.request_cancel(one.id),
        }
        order = [*ends][number % 3 :] + [*ends][: number % 3]
        outcomes = dict(
            zip(order, await asyncio.gather(*(ends[end] for end in order), return_exceptions=True), strict=True)
        )
        final = await ledger.get(one.id)
        asked = outcomes.pop(None)
        assert isinstance(asked, Generation)
        assert asked.state in {State.IN_PROGRESS, final.state}
        assert [state for state, outcome in outcomes.items() if outcome is None] == [final.state]
        assert [type(outcome) for outcome in outcomes.values() if outcome is not None] == [ClaimLostError]
        return final.state

    async def work(ledger, _):
        return [
            state for n in range(20) for state in await asyncio.gather(*(race(ledger, n * 10 + k) for k in range(10)))
        ]

    states = Counter(with_ledger(work))
    assert sum(states.values()) == 200
    assert set(states) == {State.COMPLETED, State.CANCELLED}


def test_a_failure_says_why_and_keeps_the_handle(with_ledger):
    async def work(ledger, _):
        one = await claimed(ledger)
        await ledger.save_handle(one.id, 1, {"model": "m"})
        await ledger.fail(one.id, 1, error={"code": "processing_failed"}, tried=Tried([{"model": "m"}]))
        return await ledger.get(one.id)

    failed = with_ledger(work)
    assert (failed.state, failed.error, failed.handle) == (State.FAILED, {"code": "processing_failed"}, {"model": "m"})
    assert failed.attempts == [{"model": "m"}]


def test_only_what_has_ended_is_deleted_and_its_key_is_free_again(with_ledger):
    async def work(ledger, _):
        made = await queued(ledger, idempotency_key="k")
        with pytest.raises(ValidationError, match="is queued; cancel it"):
            await ledger.delete(made.id)
        await ledger.request_cancel(made.id)
        assert await ledger.delete(made.id, owner="ada") is True
        assert await ledger.delete(made.id) is False
        assert (await queued(ledger, idempotency_key="k")).id != made.id

    with_ledger(work)


def test_a_value_that_is_no_json_is_refused_before_it_is_stored(with_ledger):
    async def work(ledger, _):
        with pytest.raises(ValueError, match="JSON"):
            await ledger.insert({"duration": float("nan")}, owner="", requested_model="m")
        assert (await ledger.list()).generations == ()

    with_ledger(work)
