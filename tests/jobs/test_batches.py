"""Batches are taken whole or not at all, and each good line becomes one generation, whoever is killed in between."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from typing import Any

import pytest

from cinelet.domain.errors import CapacityError, ValidationError
from cinelet.jobs.batch import Batch, BatchLine, SentLine
from cinelet.jobs.batch_queue import MAX_IMAGES, MAX_LINES
from cinelet.jobs.errors import IdempotencyConflictError
from cinelet.jobs.states import State
from cinelet.jobs.usage import unfinished, within_a_day
from cinelet.storage.errors import StorageError
from cinelet.testing import FakeBackend, example_image
from tests.jobs.shop import SECONDS, PaidBackend, Shop
from tests.observability.counted import counting

OWNER = "shop"


def lines_of(*prompts: str, **values: Any) -> list[SentLine]:
    return [
        SentLine(number, values={"prompt": prompt, "duration": 1, "fps": 4, **values})
        for number, prompt in enumerate(prompts, start=1)
    ]


def with_image(image: bytes, number: int = 1) -> SentLine:
    async def found() -> bytes:
        return image

    return SentLine(number, values={"duration": 1, "fps": 4}, image=found)


async def submitted(shop: Shop, lines: list[SentLine], **options: Any) -> str:
    sent_hash = hashlib.sha256(repr([line.values for line in lines]).encode()).digest()
    batch_id, _ = await shop.jobs.batches.submit(lines, owner=OWNER, sent_hash=sent_hash, **options)
    return batch_id


async def batch_of(shop: Shop, batch_id: str) -> Batch:
    batch = await shop.jobs.batches.ledger.get(batch_id)
    assert batch is not None
    return batch


async def over(shop: Shop, batch_id: str) -> Batch:
    async with asyncio.timeout(SECONDS):
        while (batch := await batch_of(shop, batch_id)).finished_at is None:  # noqa: ASYNC110  (a worker changes it)
            await asyncio.sleep(0.02)
    return batch


async def all_lines(shop: Shop, batch_id: str) -> list[BatchLine]:
    return list(await shop.jobs.batches.ledger.lines(batch_id, limit=1000))


async def count(shop: Shop, table: str) -> int:
    async with shop.jobs.database.connection() as connection:
        row = await (await connection.execute(f"SELECT count(*) FROM {table}".encode())).fetchone()
    assert row is not None
    return int(row[0])


def test_a_worker_makes_what_a_killed_process_had_only_taken(with_shop):
    async def work(shop: Shop):
        batch_id = await submitted(shop, lines_of(*(f"gull {n}" for n in range(5))))
        taken = await batch_of(shop, batch_id)
        async with shop.working():
            done = await over(shop, batch_id)
        return taken, done, await all_lines(shop, batch_id), await count(shop, "batch_requests")

    taken, done, lines, left = with_shop(work)
    assert (taken.state, taken.counts) == ("in_progress", {"queued": 5})
    assert (done.state, done.counts) == ("completed", {"completed": 5})
    assert [line.generation.request["prompt"] for line in lines if line.generation] == [f"gull {n}" for n in range(5)]
    assert left == 0


def test_many_that_make_generations_at_once_make_each_once(with_shop):
    async def work(shop: Shop):
        batches = [await submitted(shop, lines_of(*(f"gull {n}" for n in range(450)), seed=seed)) for seed in (1, 2)]
        made = await asyncio.gather(*(shop.jobs.batches.ledger.make_generations() for _ in range(6)))
        return sum(made), [await all_lines(shop, batch_id) for batch_id in batches], await count(shop, "generations")

    made, batches, generations = with_shop(work, cache=True)
    assert made == generations == 900
    for lines in batches:
        assert [line.generation.request["prompt"] for line in lines if line.generation] == [
            f"gull {n}" for n in range(450)
        ]


def test_lines_are_worked_on_in_their_order(with_shop):
    backend = FakeBackend()

    async def work(shop: Shop):
        batch_id = await submitted(shop, lines_of(*map(str, range(12))))
        async with shop.working(remote=1):
            await over(shop, batch_id)

    with_shop(work, make_backend=lambda: backend)
    assert [request.prompt for request in backend.requests] == list(map(str, range(12)))


def test_identical_lines_in_flight_are_made_once(with_shop):
    backend = FakeBackend()

    async def work(shop: Shop):
        batch_id = await submitted(shop, lines_of(*["the same"] * 5, seed=3))
        await shop.jobs.batches.ledger.make_generations()
        follows = [line.generation.follows for line in await all_lines(shop, batch_id) if line.generation]
        async with shop.working():
            await over(shop, batch_id)
        return follows, await all_lines(shop, batch_id)

    follows, lines = with_shop(work, make_backend=lambda: backend, cache=True)
    assert follows == [None, *[lines[0].generation_id] * 4]
    assert {line.state for line in lines} == {"completed"}
    assert len(backend.requests) == 1


def test_a_bad_line_is_kept_with_its_reason_and_stops_no_other(with_shop):
    async def work(shop: Shop):
        sent = [
            *lines_of("good", "x" * 1001, "good too"),
            SentLine(7, "mine", error={"code": "invalid_request", "message": "It is no JSON"}),
        ]
        batch_id = await submitted(shop, sent)
        async with shop.working():
            done = await over(shop, batch_id)
        return done, await all_lines(shop, batch_id)

    done, lines = with_shop(work)
    assert (done.state, done.counts) == ("completed", {"completed": 2, "failed": 2})
    assert [(line.number, line.state, line.custom_id) for line in lines] == [
        (1, "completed", None),
        (2, "failed", None),
        (3, "completed", None),
        (7, "failed", "mine"),
    ]
    assert lines[1].error["message"] == "Prompt must be 1-1000 characters"
    assert lines[1].generation_id is None


def test_where_every_line_is_bad_nothing_is_made(with_shop):
    async def work(shop: Shop):
        with pytest.raises(ValidationError) as caught:
            await submitted(shop, lines_of(*[""] * 30), idempotency_key="order")
        # Nothing is kept of it either, so that the key is free for what is corrected.
        return (
            caught.value,
            await submitted(shop, lines_of("good"), idempotency_key="order"),
            await count(shop, "batches"),
        )

    error, _, batches = with_shop(work)
    assert str(error).startswith("None of the 30 lines can be made; line 1: Prompt must be")
    assert len(error.details) == 20
    assert batches == 1


@pytest.mark.parametrize("size", [0, MAX_LINES + 1])
def test_a_batch_of_no_line_or_of_too_many_is_refused(with_shop, size):
    async def work(shop: Shop):
        with pytest.raises(ValidationError, match="has 1-10,000 lines"):
            await submitted(shop, lines_of(*["x"] * size))

    with_shop(work, max_waiting=2 * MAX_LINES)


def test_a_batch_that_the_queue_can_never_hold_is_wrong_and_one_that_it_cannot_hold_now_may_come_again(with_shop):
    async def work(shop: Shop):
        with pytest.raises(ValidationError, match="1-10 lines"):
            await submitted(shop, lines_of(*["x"] * 11))
        await submitted(shop, lines_of(*["x"] * 6))
        with pytest.raises(CapacityError, match="6 generations wait already, and 10 may"):
            await submitted(shop, lines_of(*["x"] * 5))
        await submitted(shop, lines_of(*["x"] * 4))
        with pytest.raises(CapacityError):
            await shop.submit()
        return await count(shop, "batches")

    assert with_shop(work, max_waiting=10) == 2


def test_too_many_images_are_refused_before_one_is_fetched(with_shop):
    async def never() -> bytes:
        raise AssertionError

    async def work(shop: Shop):
        with pytest.raises(ValidationError, match="At most 1,000 lines"):
            await submitted(shop, [SentLine(n, image=never) for n in range(MAX_IMAGES + 1)])

    with_shop(work, max_waiting=MAX_LINES)


def test_one_key_makes_one_batch_also_at_once(with_shop):
    async def work(shop: Shop):
        lines = lines_of("a", "b")
        ids = await asyncio.gather(*(submitted(shop, lines, idempotency_key="order") for _ in range(20)))
        with pytest.raises(IdempotencyConflictError):
            await submitted(shop, lines_of("c"), idempotency_key="order")
        await shop.jobs.batches.ledger.make_generations()
        return set(ids), await count(shop, "batches"), await count(shop, "generations")

    ids, batches, generations = with_shop(work)
    assert (len(ids), batches, generations) == (1, 1, 2)


def test_lines_that_are_no_generations_yet_count_against_limits(with_shop):
    async def work(shop: Shop):
        async def found() -> tuple[int, float]:
            async with shop.jobs.database.connection() as connection:
                used = await within_a_day(connection, OWNER, "video_seconds", limit=1)
                return await unfinished(connection, OWNER, at_most=99), used.amount

        await submitted(shop, lines_of("a", "b", "c"))
        before = await found()
        await shop.jobs.batches.ledger.make_generations()
        return before, await found()

    before, after = with_shop(work)
    assert before == after == (3, 3.0)


def test_a_batch_that_is_not_admitted_leaves_nothing(with_shop, tmp_path):
    async def full(_connection: Any, _asked: Any) -> None:
        raise CapacityError("enough for today")

    async def work(shop: Shop):
        with pytest.raises(CapacityError):
            await submitted(shop, [*lines_of("a"), with_image(example_image(), number=2)], admit=full)
        return [await count(shop, table) for table in ("batches", "batch_lines", "batch_requests", "generations")]

    assert with_shop(work) == [0, 0, 0, 0]
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_an_image_is_kept_for_a_line_that_is_still_to_be_made(with_shop):
    backend, image = FakeBackend(), example_image()

    async def work(shop: Shop):
        other = await submitted(shop, [with_image(image)])
        await shop.jobs.batches.ledger.make_generations()
        batch_id = await submitted(shop, [with_image(image), with_image(b"", number=2)])
        (first,) = await all_lines(shop, other)
        assert first.generation is not None
        await shop.ledger.request_cancel(first.generation.id)
        await shop.queue.delete(await shop.get(first.generation))
        async with shop.working():
            await over(shop, batch_id)
        return await all_lines(shop, batch_id), (await all_lines(shop, other))[0].state

    lines, state = with_shop(work, make_backend=lambda: backend)
    assert [line.state for line in lines] == ["completed", "failed"]
    assert [request.image for request in backend.requests] == [image]
    assert state == "deleted"


def test_a_store_that_fails_blames_no_line(with_shop, monkeypatch):
    async def work(shop: Shop):
        async def failing(*_: Any, **__: Any) -> bool:
            raise StorageError("The store is away")

        monkeypatch.setattr(shop.queue.store, "put_bytes", failing)
        with pytest.raises(StorageError):
            await submitted(shop, [*lines_of("a"), with_image(example_image(), number=2)])
        return await count(shop, "batches")

    assert with_shop(work) == 0


def test_a_cancel_ends_what_waits_at_once_and_stops_what_runs(with_shop):
    backend = PaidBackend()

    async def work(shop: Shop):
        batch_id = await submitted(shop, lines_of(*(f"gull {n}" for n in range(250))))
        await shop.jobs.batches.ledger.make_generations()
        async with shop.working(remote=2):
            async with asyncio.timeout(SECONDS):
                while backend.submitted < 2:  # noqa: ASYNC110  (a worker changes it)
                    await asyncio.sleep(0.01)
            await shop.jobs.batches.ledger.request_cancel(batch_id)
            at_once = await batch_of(shop, batch_id)
            done = await over(shop, batch_id)
        return at_once, done, await shop.engine_jobs()

    with counting() as counted:
        at_once, done, jobs = with_shop(work, make_backend=lambda: backend)
    assert counted.of("cinelet_generations_ended_total", state="cancelled") == 250
    assert at_once.counts["cancelled"] >= 248
    assert (done.state, done.counts) == ("cancelled", {"cancelled": 250})
    assert (backend.submitted, backend.cancelled, jobs) == (2, 2, 0)


def test_a_line_that_is_cancelled_before_it_is_a_generation_never_becomes_one(with_shop):
    async def work(shop: Shop):
        batch_id = await submitted(shop, lines_of("a", "b"))
        await shop.jobs.batches.ledger.request_cancel(batch_id)
        made = await shop.jobs.batches.ledger.make_generations()
        return made, await batch_of(shop, batch_id), await all_lines(shop, batch_id)

    made, batch, lines = with_shop(work)
    assert made == 0
    assert (batch.state, batch.counts) == ("cancelled", {"cancelled": 2})
    assert lines[0].error["code"] == "cancelled"


def test_a_cancel_and_whoever_makes_generations_leave_no_line_between_them(with_shop):
    async def work(shop: Shop):
        batch_id = await submitted(shop, lines_of(*(f"gull {n}" for n in range(600))))
        ledger = shop.jobs.batches.ledger
        making = [asyncio.create_task(ledger.make_generations()) for _ in range(3)]
        await ledger.request_cancel(batch_id)
        await asyncio.gather(*making)
        return Counter(line.state for line in await all_lines(shop, batch_id))

    assert with_shop(work) == {"cancelled": 600}


def test_what_a_batch_came_to_stays_so_when_its_generations_are_deleted(with_shop):
    async def work(shop: Shop):
        batch_id = await submitted(shop, lines_of("a", "b"))
        async with shop.working():
            done = await over(shop, batch_id)
        (first, _) = await all_lines(shop, batch_id)
        assert first.generation is not None
        await shop.queue.delete(first.generation)
        return done, await batch_of(shop, batch_id), [line.state for line in await all_lines(shop, batch_id)]

    done, later, states = with_shop(work)
    assert done == later
    assert later.counts == {"completed": 2}
    assert states == ["deleted", "completed"]


def test_generations_are_listed_by_batch_and_batches_in_pages(with_shop):
    async def work(shop: Shop):
        ids = [await submitted(shop, lines_of(f"a {n}", f"b {n}")) for n in range(3)]
        await shop.jobs.batches.ledger.make_generations()
        of_one = await shop.ledger.list(batch=ids[1], state=State.QUEUED)
        first = await shop.jobs.batches.ledger.list(owner=OWNER, limit=2)
        second = await shop.jobs.batches.ledger.list(owner=OWNER, limit=2, after=first.next)
        none = await shop.jobs.batches.ledger.list(owner="somebody else")
        return ids, of_one, [batch.id for page in (first, second) for batch in page.batches], second.next, none

    ids, of_one, listed, end, none = with_shop(work)
    assert [generation.request["prompt"] for generation in of_one.generations] == ["b 1", "a 1"]
    assert listed == ids[::-1]
    assert end is None
    assert none.batches == ()
