"""`cinelet webhooks`, and the webhook of a key."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cinelet.assembly import open_database
from cinelet.jobs.ledger import JobLedger
from tests.cli.conftest import Command
from tests.jobs.conftest import copy_data, processes_of

__all__ = ["copy_data", "processes_of"]
URL = "https://receiver.example/hook"


@pytest.fixture(autouse=True)
def own_database(
    bare: Path, copy_data: Callable[[Path], Path], processes_of: Callable[[Path], list[int]]
) -> Iterator[None]:
    data = copy_data(bare.parent / "data")
    yield
    assert processes_of(data / "database" / "postgres") == [], "the last command stops the server"


def cancelled(*owners: str) -> list[str]:
    """Return the ids of deliveries, each of the end of a generation."""

    async def work() -> list[str]:
        async with await open_database() as database:
            ledger = JobLedger(database)
            made = []
            for owner in owners:
                generation = (await ledger.insert({}, owner=owner, requested_model="m", webhook_url=URL)).generation
                await ledger.request_cancel(generation.id)
                made.append(generation.id.replace("gen_", "evt_"))
            return made

    return asyncio.run(work())


def test_a_secret_is_made_once_an_owner_and_can_be_rotated(cinelet: Command) -> None:
    first = cinelet("webhooks", "secret")
    assert len(base64.b64decode(first.out.strip().removeprefix("whsec_"))) == 32
    assert cinelet("webhooks", "secret").out == first.out
    cinelet("keys", "create", "site", "--owner", "shop")
    of_shop = cinelet("webhooks", "secret", "--owner", "shop")
    assert (of_shop.code, of_shop.out != first.out) == (0, True)
    rotated = cinelet("webhooks", "rotate", "--keep-hours", "1.5")
    assert rotated.err == "the secret before it signs as well for 1.5 hours\n"
    assert rotated.out == cinelet("webhooks", "secret").out != first.out


def test_deliveries_are_listed_and_repeated(cinelet: Command) -> None:
    assert cinelet("webhooks", "deliveries").err == "no deliveries\n"
    mine, other = cancelled("local", "other")
    listed = cinelet("webhooks", "deliveries").out.splitlines()
    assert [line.partition(" ")[0] for line in listed] == [other, mine]
    assert f"pending    video.failed     {URL}  0 attempts, next 2" in listed[0]
    (found,) = cinelet("webhooks", "deliveries", "--json", "--owner", "local").json
    assert (found["id"], found["state"], found["url"], found["attempts"]) == (mine, "pending", URL, 0)
    assert cinelet("webhooks", "deliveries", "--state", "delivered").err == "no deliveries\n"
    assert "--limit 5 shows more" in cinelet("webhooks", "deliveries", "--limit", "1").err
    assert cinelet("webhooks", "redeliver", mine).out == f"{mine} is delivered again\n"


def test_a_key_has_a_webhook_that_can_be_set_and_cleared(cinelet: Command) -> None:
    cinelet("keys", "create", "site", "--webhook", URL)
    (key,) = cinelet("keys", "list", "--json").json
    assert key["webhook_url"] == URL
    assert "never used, webhook" in cinelet("keys", "list").out
    cleared = cinelet("keys", "webhook", key["id"], "--clear")
    assert cleared.out == f"{key['id']} (site): nobody is told of what it makes from now on\n"
    assert cinelet("keys", "list", "--json").json[0]["webhook_url"] is None
    cinelet("keys", "webhook", key["id"], f"{URL}/2")
    assert cinelet("keys", "list", "--json").json[0]["webhook_url"] == f"{URL}/2"


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("webhooks", "deliveries", "--state", "lost"), 2, "There is no state 'lost'; the states are pending, deliv"),
        (("webhooks", "redeliver", "evt_nothing"), 1, "There is no delivery 'evt_nothing'"),
        (("webhooks", "rotate", "--keep-hours", "-1"), 2, "Invalid value for '--keep-hours'"),
        (("webhooks", "secret", "--owner", "shp"), 2, "No key has the owner 'shp'; cinelet keys list shows the owners"),
        (("webhooks", "secret", "--owner", "a\nb"), 2, r"No key has the owner 'a\nb'"),
        (("webhooks", "rotate", "--owner", "shp"), 2, "No key has the owner 'shp'"),
        (("keys", "create", "x", "--webhook", "http://10.0.0.1/"), 2, "webhook_url: Must begin with https://"),
        (("keys", "create", "x", "--webhook", "https://10.0.0.1/"), 2, "webhook_url: Must not lead into a network"),
        (("keys", "webhook", "key_nothing", URL), 1, "There is no key 'key_nothing'"),
        (("keys", "webhook", "key_nothing"), 2, "Give an address, or --clear for none"),
        (("keys", "webhook", "key_nothing", URL, "--clear"), 2, "Give an address, or --clear for none"),
    ],
)
def test_a_wrong_word_is_one_line(cinelet: Command, words: tuple[str, ...], code: int, why: str) -> None:
    done = cinelet(*words)
    assert done.code == code
    assert " ".join(done.err.split()).startswith(" ".join(f"error: {why}".split()))
    assert done.err.count("\n") == 1


def test_a_private_receiver_is_taken_where_that_is_allowed(cinelet: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CINELET_WEBHOOK_ALLOW_PRIVATE", "1")
    assert cinelet("keys", "create", "site", "--webhook", "http://10.0.0.1/hook").code == 0
