"""Generations are found by a part of their prompt, in whatever case, and whatever a prompt holds."""

from __future__ import annotations

import asyncio
import json

import pytest

from cinelet.jobs.batch import SentLine
from cinelet.jobs.database import Database
from cinelet.jobs.generation import new_id
from cinelet.jobs.ledger import JobLedger
from cinelet.jobs.migrations import known_migrations
from cinelet.jobs.searching import folded, pattern
from cinelet.jobs.states import State
from tests.jobs.shop import Shop

BEFORE = 8
"""The newest version of the schema that has no texts to search in."""


async def insert(ledger: JobLedger, prompt: str | None, *, owner: str = "ada", model: str = "m") -> str:
    request = {} if prompt is None else {"prompt": prompt}
    return (await ledger.insert(request, owner=owner, requested_model=model)).generation.id


async def found(ledger: JobLedger, text: str, **filters) -> list[str]:
    return [one.id for one in (await ledger.list(text=text, **filters)).generations]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("A Red CIRCLE", "red circle"),
        ("a red circle", "RED"),
        ("straße", "STRASSE"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("ÉTÉ", "été"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("一只红色的鸟", "红色"),
        ("100 % sure", "0 %"),
        ("a_b", "_"),
        ("back\\slash", "k\\s"),
        ("before\0after", "BEFORE"),
        ("before\0after", "after"),
        ("before\0after", "e\0a"),
        ("half \ud800 a character", "a char"),
        ("line\nend", "line\nend"),
        ("🦊 runs", "🦊"),
    ],
)
def test_a_prompt_is_found_by_any_part_of_it(with_ledger, prompt, text):
    async def work(ledger, _):
        await insert(ledger, "something else")
        made = await insert(ledger, prompt)
        await insert(ledger, None)
        return made, await found(ledger, text)

    made, ids = with_ledger(work)
    assert ids == [made]


@pytest.mark.parametrize(
    ("prompt", "text"), [("abc", "a_c"), ("abc", "a%"), ("abc", "a\\b"), ("abc", "\\"), ("a", "ab")]
)
def test_no_character_of_a_text_stands_for_others(with_ledger, prompt, text):
    async def work(ledger, _):
        await insert(ledger, prompt)
        return await found(ledger, text)

    assert with_ledger(work) == []


def test_a_text_goes_with_every_other_filter_and_with_pages(with_ledger):
    async def work(ledger, _):
        first, second, third = [await insert(ledger, f"a red gull {n}", model=f"m{n}") for n in range(3)]
        others = await insert(ledger, "a red gull", owner="bob")
        await insert(ledger, "a blue gull")
        await ledger.request_cancel(second)
        assert await found(ledger, "red", owner="ada") == [third, second, first]
        assert await found(ledger, "red") == [others, third, second, first]
        assert await found(ledger, "red", oldest_first=True, owner="ada") == [first, second, third]
        assert await found(ledger, "red", state=State.CANCELLED) == [second]
        assert await found(ledger, "red", model="m0") == [first]
        assert await found(ledger, "red", batch="batch_x") == []
        middle = await ledger.get(second)
        assert await found(ledger, "red", created_before=middle.created_at) == [first]
        assert await found(ledger, "red", created_from=middle.created_at, owner="ada") == [third, second]
        page = await ledger.list(text="red", owner="ada", limit=2)
        assert [one.id for one in page.generations] == [third, second]
        assert await found(ledger, "red", owner="ada", after=page.next) == [first]

    with_ledger(work)


def test_the_lines_of_a_batch_are_found(with_shop):
    async def work(shop: Shop):
        lines = [SentLine(number, values={"prompt": f"Gull {number}"}) for number in (1, 2)]
        await shop.jobs.batches.submit(lines, owner="ada", sent_hash=b"", metadata={})
        await shop.jobs.batches.ledger.make_generations()
        page = await shop.ledger.list(text="gull 2")
        return [one.request["prompt"] for one in page.generations]

    assert with_shop(work) == ["Gull 2"]


def test_what_is_deleted_leaves_no_text(with_ledger):
    async def work(ledger, database):
        made = await insert(ledger, "a secret gull")
        await ledger.request_cancel(made)
        await ledger.delete(made)
        async with database.connection() as connection:
            return await (await connection.execute("SELECT count(*) FROM generation_texts")).fetchone()

    assert with_ledger(work) == (0,)


def test_the_same_idempotency_key_adds_no_second_text(with_ledger):
    async def work(ledger, database):
        for _ in range(2):
            await ledger.insert({"prompt": "x"}, owner="ada", requested_model="m", idempotency_key="k")
        async with database.connection() as connection:
            return await (await connection.execute("SELECT count(*) FROM generation_texts")).fetchone()

    assert with_ledger(work) == (1,)


def test_generations_from_before_are_found_too(data_directory, schema):
    prompts = {
        "plain": "A Red Gull",
        "accents": "ÉTÉ",
        "nul": "two\0\0NULs \\u0000 written \\\0",
        "half": "\ud800",
        "none": None,
    }
    ids = {name: new_id() for name in prompts}

    async def work():
        steps = [step for step in known_migrations() if step.version <= BEFORE]
        async with (
            await Database.open(None, data_directory=data_directory, schema=schema, migrations=steps) as database,
            database.connection() as connection,
        ):
            for name, prompt in prompts.items():
                request = json.dumps({"duration": 2, **({} if prompt is None else {"prompt": prompt})})
                await connection.execute(
                    "INSERT INTO generations (id, owner, request, requested_model, request_hash)"
                    " VALUES (%s, 'ada', %s, 'm', '')",
                    [ids[name], request],
                )
        async with await Database.open(None, data_directory=data_directory, schema=schema) as database:
            ledger = JobLedger(database)
            texts = ("red gull", "été", "two\0\0nuls", "\\u0000 written", "\\\0", "half")
            return [await found(ledger, text) for text in texts]

    assert asyncio.run(work()) == [[ids["plain"]], [ids["accents"]], [ids["nul"]], [ids["nul"]], [ids["nul"]], []]


def test_a_pattern_takes_each_character_as_it_is():
    assert pattern("50%_\\") == "%50\\%\\_\\\\%"
    assert folded("A\0\ud800") == "a\N{REPLACEMENT CHARACTER}?"


def test_a_server_without_the_extension_searches_without_an_index(with_ledger):
    async def work(_, database):
        async with database.connection() as connection:
            return await (await connection.execute("SELECT index_texts()")).fetchone()

    assert with_ledger(work) == (False,)


def test_a_dump_is_restored_without_an_index_that_this_server_may_not_know(with_ledger, tmp_path):
    async def work(ledger, database):
        made = await insert(ledger, "a red gull")
        async with database.connection() as connection:
            await connection.execute("CREATE INDEX generation_texts_by_part ON generation_texts (folded)")
        await database.dump(tmp_path / "jobs.dump")
        await database.restore(tmp_path / "jobs.dump")
        async with database.connection() as connection:
            rows = await connection.execute(
                "SELECT count(*) FROM pg_indexes WHERE tablename = 'generation_texts' AND schemaname = %s",
                [database.schema],
            )
            assert await rows.fetchone() == (1,)
        assert await found(ledger, "red") == [made]

    with_ledger(work)
