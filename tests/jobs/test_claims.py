"""A worker claims a generation with its job, and gives back a claim that it never heard of."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from procrastinate import PsycopgConnector, exceptions

from cinelet.jobs.claims import CLAIMS_OF, Claims
from cinelet.jobs.states import State
from tests.jobs.shop import Shop


async def known(shop: Shop, worker: str) -> Any:
    async with shop.jobs.database.connection() as connection:
        found = await connection.execute(f"SELECT {CLAIMS_OF}".encode(), [worker])
        (claims,) = await found.fetchone() or ([],)
    return claims


def test_a_claim_that_nobody_holds_at_two_looks_is_given_back_and_no_crash_is_counted(with_shop):
    async def work(shop: Shop):
        claims = Claims(shop.ledger)
        held, lost = [await shop.claim((await shop.submit()).id, worker="w") for _ in range(2)]
        others = await shop.claim((await shop.submit()).id, worker="other")
        with claims.held(held):
            await claims.look(await known(shop, "w"))
            assert (await shop.get(lost)).state is State.IN_PROGRESS
            await claims.look(await known(shop, "w"))
            await claims.look(await known(shop, "w"))
        found = [await shop.get(one) for one in (held, lost, others)]
        assert [one.state for one in found] == [State.IN_PROGRESS, State.QUEUED, State.IN_PROGRESS]
        again = await shop.claim(lost.id, worker="w")
        assert (again.attempt, again.crashes) == (2, 0)

    with_shop(work)


def test_what_is_held_between_two_looks_is_not_given_back(with_shop):
    async def work(shop: Shop):
        claims = Claims(shop.ledger)
        slow = await shop.claim((await shop.submit()).id, worker="w")
        await claims.look(await known(shop, "w"))
        with claims.held(slow):
            await claims.look(await known(shop, "w"))
            await claims.give_back_unknown(shop.jobs.database, worker="w")
        return await shop.get(slow)

    assert with_shop(work).state is State.IN_PROGRESS


def test_at_its_end_a_worker_gives_back_at_once_what_it_does_not_hold(with_shop):
    async def work(shop: Shop):
        lost = await shop.claim((await shop.submit()).id, worker="w")
        await Claims(shop.ledger).give_back_unknown(shop.jobs.database, worker="w")
        return await shop.get(lost)

    given_back = with_shop(work)
    assert (given_back.state, given_back.crashes) == (State.QUEUED, 0)


def test_a_generation_whose_claim_was_never_heard_of_is_made_all_the_same(with_shop, monkeypatch: pytest.MonkeyPatch):
    ask, cut = PsycopgConnector.execute_query_all_async, list[str]()

    async def cut_once(self: PsycopgConnector, query: str, **arguments: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await ask(self, query, **arguments)
        if "claimed" in query and rows and not cut:
            cut.extend(row["generation.id"] for row in rows)
            raise exceptions.ConnectorException from psycopg.OperationalError("the connection broke")
        return rows

    monkeypatch.setattr(PsycopgConnector, "execute_query_all_async", cut_once)
    monkeypatch.setattr("cinelet.jobs.worker.SWEEP_SECONDS", 0.5)

    async def work(shop: Shop):
        made = await shop.submit()
        async with shop.working():
            return await shop.ended(made)

    made = with_shop(work)
    assert cut == [made.id]
    assert (made.state, made.attempt, made.crashes) == (State.COMPLETED, 2, 0)


def test_a_generation_that_is_in_other_hands_when_its_job_is_fetched_is_claimed_afterwards(with_shop):
    """Whoever cancels has the generation and then wants the job; whoever fetches has the job, and must not wait."""

    async def work(shop: Shop):
        made = await shop.submit()
        async with shop.jobs.database.connection() as connection:
            await connection.execute("BEGIN")
            await connection.execute("SELECT FROM generations WHERE id = %s FOR UPDATE", [made.id])
            async with shop.working():
                await asyncio.wait_for(fetched(shop, made.id), 10)
                assert (await shop.get(made)).state is State.QUEUED
                # As a cancel would: it goes on to the job, which nobody keeps.
                await connection.execute(f"SELECT FROM procrastinate_jobs WHERE {JOB} FOR UPDATE".encode(), [made.id])
                await connection.execute("COMMIT")
                return await shop.ended(made)

    done = with_shop(work)
    assert (done.state, done.attempt) == (State.COMPLETED, 1)


JOB = "args ->> 'generation_id' = %s"


async def fetched(shop: Shop, generation_id: str) -> None:
    """Wait until the engine has given the job to somebody."""
    async with shop.jobs.database.connection() as connection:
        statement = f"SELECT FROM procrastinate_jobs WHERE {JOB} AND status = 'doing'".encode()
        while await (await connection.execute(statement, [generation_id])).fetchone() is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
