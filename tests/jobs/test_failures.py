"""What failed lately is counted alike with alike, whatever an error's message holds."""

from __future__ import annotations

import pytest

from cinelet.jobs.failures import MAX_KINDS, failures
from cinelet.jobs.ledger import JobLedger


async def fail(ledger: JobLedger, message: str, *, code: str = "model_host_failed", model: str = "embedded") -> str:
    made = (await ledger.insert({"prompt": "x"}, owner="local", requested_model=model)).generation
    claimed = await ledger.claim(made.id, worker="w")
    assert claimed is not None
    await ledger.fail(made.id, claimed.attempt, error={"code": code, "message": message, "retryable": True})
    return made.id


def test_the_most_frequent_kind_comes_first_with_its_newest_message(with_ledger):
    async def work(ledger, database):
        await fail(ledger, "one", code="no_capacity")
        await fail(ledger, "one", model="org/name")
        await fail(ledger, "first")
        newest = await fail(ledger, "second")
        return newest, await failures(database, hours=1)

    newest, found = with_ledger(work)
    kinds = [(kind.code, kind.model, kind.count) for kind in found]
    assert kinds[0] == ("model_host_failed", "embedded", 2)
    assert set(kinds[1:]) == {("model_host_failed", "org/name", 1), ("no_capacity", "embedded", 1)}
    assert (found[0].message, found[0].generation_id) == ("second", newest)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("a \0 b", "a \0 b"),
        ("half \ud800 of it", "half ? of it"),
        ('"code": "other"', '"code": "other"'),
        ("\\", "\\"),
        ("Ünïcode 🎬", "Ünïcode 🎬"),
    ],
)  # fmt: skip
def test_no_message_hides_the_code(with_ledger, message: str, shown: str):
    async def work(ledger, database):
        await fail(ledger, message)
        return await failures(database, hours=1)

    (kind,) = with_ledger(work)
    assert (kind.code, kind.message) == ("model_host_failed", shown)


def test_what_users_name_does_not_make_the_list_endless(with_ledger):
    async def work(ledger, database):
        for number in range(MAX_KINDS + 3):
            await fail(ledger, "unknown", model=f"org/{number}")
        return len(await failures(database, hours=1))

    assert with_ledger(work) == MAX_KINDS


def test_what_was_cancelled_or_failed_earlier_is_not_counted(with_ledger):
    async def work(ledger, database):
        made = (await ledger.insert({}, owner="local", requested_model="embedded")).generation
        await ledger.request_cancel(made.id)
        await fail(ledger, "old")
        async with database.connection() as connection:
            await connection.execute("UPDATE generations SET finished_at = finished_at - interval '61 minutes'")
        return await failures(database, hours=1)

    assert list(with_ledger(work)) == []
