"""Lists: the newest first, filtered, in pages that stay right while rows come and go, and never a scan."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from cinelet.domain.errors import ValidationError
from cinelet.jobs.generation import Position
from cinelet.jobs.listing import listing
from cinelet.jobs.states import State


async def insert(ledger, count, *, owner="ada", model="m"):
    return [(await ledger.insert({}, owner=owner, requested_model=model)).generation for _ in range(count)]


async def walk(ledger, *, limit, **filters):
    """Return all pages."""
    pages = [await ledger.list(limit=limit, **filters)]
    while pages[-1].next is not None:
        pages.append(await ledger.list(limit=limit, after=pages[-1].next, **filters))
    return pages


def test_pages_hold_everything_once_the_newest_first(with_ledger):
    async def work(ledger, database):
        made = await insert(ledger, 7)
        async with database.connection() as connection:  # equal times are ordered by id
            await connection.execute("UPDATE generations SET created_at = %s", [made[0].created_at])
        made += await insert(ledger, 2)
        return made, await walk(ledger, limit=3)

    made, pages = with_ledger(work)
    listed = [one for page in pages for one in page.generations]
    assert [len(page.generations) for page in pages] == [3, 3, 3]
    assert sorted(one.id for one in listed) == sorted(one.id for one in made)
    assert listed == sorted(listed, key=lambda one: (one.created_at, one.id), reverse=True)


def test_a_page_is_not_moved_by_what_comes_meanwhile(with_ledger):
    async def work(ledger, _):
        made = await insert(ledger, 4)
        first = await ledger.list(limit=2)
        await insert(ledger, 3)
        second = await ledger.list(limit=2, after=first.next)
        return [one.id for one in made], [one.id for one in (*first.generations, *second.generations)]

    made, listed = with_ledger(work)
    assert listed == made[::-1]


def test_filters_choose_by_state_model_owner_and_time(with_ledger):
    async def work(ledger, _):
        (a,) = await insert(ledger, 1, owner="ada", model="x")
        (b,) = await insert(ledger, 1, owner="bob", model="x")
        (c,) = await insert(ledger, 1, owner="ada", model="y")
        await ledger.claim(c.id, worker="w")
        await ledger.complete(c.id, 1, model="z", result={})

        async def ids(**filters):
            return [one.id for one in (await ledger.list(**filters)).generations]

        assert await ids() == [c.id, b.id, a.id]
        assert await ids(owner="ada") == [c.id, a.id]
        assert await ids(model="x") == [b.id, a.id]
        assert await ids(model="y") == []  # another one made it
        assert await ids(model="z") == [c.id]
        assert await ids(state=State.QUEUED, owner="ada") == [a.id]
        assert await ids(created_from=b.created_at) == [c.id, b.id]
        assert await ids(created_before=b.created_at) == [a.id]
        assert await ids(created_from=c.created_at + timedelta(seconds=1)) == []
        assert await ids(model="x\0") == []

    with_ledger(work)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_a_sensible_size(limit):
    with pytest.raises(ValidationError):
        listing(limit=limit)


FILTERS: list[dict[str, Any]] = [
    {},
    {"state": State.QUEUED},
    {"state": State.FAILED},
    {"model": "m3"},
    {"owner": "o3"},
    {"owner": "o3", "state": State.QUEUED},
    {"created_before": True},
]


def test_no_page_reads_or_sorts_the_table(with_ledger):
    async def work(_, database):
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO generations (id, owner, request, requested_model, request_hash, created_at)"
                " SELECT 'gen_' || md5(n::text), 'o' || n % 10, '{}', 'm' || n % 7, '',"
                " now() - n * interval '1 s' FROM generate_series(1, 30000) n"
            )
            await connection.execute("ANALYZE generations")
            middle = await (
                await connection.execute(
                    "SELECT created_at, id FROM generations ORDER BY created_at OFFSET 15000 LIMIT 1"
                )
            ).fetchone()
            for filters in FILTERS:
                for after in (None, Position(*middle)):
                    given = {**filters, "created_before": middle[0]} if "created_before" in filters else filters
                    statement, values = listing(**given, after=after)
                    row = await (
                        await connection.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement.as_string(), values)
                    ).fetchone()
                    plan = row[0][0]["Plan"]["Plans"][0]
                    assert plan["Node Type"] == "Index Scan", (filters, json.dumps(plan))
                    assert plan["Actual Rows"] <= 51
                    assert plan.get("Rows Removed by Filter", 0) < 1000, (filters, json.dumps(plan))

    with_ledger(work)
