"""What is sent again makes nothing again: at once, after a restart, and a day later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cinelet.jobs.database import Database
from cinelet.testing import FakeBackend
from tests.api.served import Served

AT_ONCE = 50
SHORT = {"prompt": "a gull", "duration": 1, "fps": 4}
WAYS: dict[str, Callable[[str], dict[str, Any]]] = {
    "/v1/text-to-video": lambda prompt: {"json": {**SHORT, "prompt": prompt}},
    "/v1/videos": lambda prompt: {"data": {"prompt": prompt, "seconds": "1"}},
    "/v1/batches": lambda prompt: {"json": {"requests": [{**SHORT, "prompt": prompt}]}},
}


@pytest.fixture(scope="module")
def served(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service without workers: what is asked for stays as it is."""
    data = copy_data(tmp_path_factory.mktemp("idempotency") / "data")
    with Served(data, make_backend=FakeBackend, worker=False) as served:
        yield served


def count(served: Served, table: str) -> int:
    async def counted(database: Database) -> int:
        async with database.connection() as connection:
            row = await (await connection.execute(f"SELECT count(*) FROM {table}".encode())).fetchone()
        assert row is not None
        return int(row[0])

    return served.with_database(counted)


@pytest.mark.parametrize("where", WAYS)
def test_fifty_requests_with_one_key_at_once_make_one(served: Served, where: str) -> None:
    table = "batches" if where == "/v1/batches" else "generations"
    before = count(served, table)
    options = {**WAYS[where]("at once"), "headers": {"idempotency-key": f"once {where}"}}
    limits = httpx2.Limits(max_connections=AT_ONCE)
    with (
        httpx2.Client(base_url=served.url, timeout=60, verify=False, limits=limits) as client,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        replies = list(threads.map(lambda _: client.post(where, **options), range(AT_ONCE)))
    assert {reply.status_code for reply in replies} <= {200, 202}
    assert len({reply.json()["id"] for reply in replies}) == 1
    assert count(served, table) - before == 1


@pytest.mark.parametrize("where", WAYS)
def test_a_key_that_was_used_for_another_request_is_refused(served: Served, where: str) -> None:
    headers = {"idempotency-key": f"other {where}"}
    served.client.post(where, **WAYS[where]("first"), headers=headers)
    reply = served.client.post(where, **WAYS[where]("second"), headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "idempotency_conflict")
    assert "first" not in reply.text


@pytest.mark.parametrize("change", [{"priority": 9}, {"webhook_url": "https://example.org/hook"}], ids=str)
@pytest.mark.parametrize("changed_first", [False, True])
def test_a_key_that_was_used_with_another_priority_or_receiver_is_refused(
    served: Served, change: dict[str, Any], *, changed_first: bool
) -> None:
    headers = {"idempotency-key": f"beside {change} {changed_first}"}
    plain = {**SHORT, "prompt": f"beside {change}"}
    first, second = ({**plain, **change}, plain) if changed_first else (plain, {**plain, **change})
    made = served.client.post("/v1/text-to-video", json=first, headers=headers)
    assert made.status_code == 202
    reply = served.client.post("/v1/text-to-video", json=second, headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "idempotency_conflict")
    again = served.client.post("/v1/text-to-video", json=first, headers=headers)
    assert again.json()["id"] == made.json()["id"]


@pytest.mark.parametrize("where", WAYS)
def test_a_request_that_was_refused_keeps_no_key(served: Served, where: str) -> None:
    headers = {"idempotency-key": f"refused {where}"}
    assert served.client.post(where, **WAYS[where](""), headers=headers).status_code == 422
    assert served.client.post(where, **WAYS[where]("corrected"), headers=headers).status_code in {200, 202}


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
@pytest.mark.parametrize("where", WAYS)
def test_what_is_no_key_is_refused(served: Served, where: str, key: str) -> None:
    reply = served.client.post(where, **WAYS[where]("x"), headers={"idempotency-key": key})
    assert reply.status_code == 422


@pytest.mark.parametrize("where", WAYS)
def test_a_key_is_kept_for_a_day(served: Served, where: str) -> None:
    headers = {"idempotency-key": f"day {where}"}
    first = served.client.post(where, **WAYS[where]("a day"), headers=headers).json()["id"]

    async def a_day_passes(database: Database) -> None:
        async with database.connection() as connection:
            for table in ("generations", "batches"):
                await connection.execute(
                    f"UPDATE {table} SET created_at = created_at - interval '24 hours' WHERE id = %s".encode(), [first]
                )

    served.with_database(a_day_passes)
    assert served.client.post(where, **WAYS[where]("a day"), headers=headers).json()["id"] == first


def test_a_restart_forgets_neither_a_key_nor_what_a_client_sends_again_by_itself(
    copy_data: Callable[[Path], Path], tmp_path: Path
) -> None:
    data = copy_data(tmp_path / "data")

    def replies(retry_count: str) -> list[dict[str, Any]]:
        with Served(data, make_backend=FakeBackend, worker=False) as served:
            found = [
                served.client.post(where, **options("kept"), headers={"idempotency-key": f"restart {where}"}).json()
                for where, options in WAYS.items()
            ]
            again = {"x-stainless-retry-count": retry_count}
            found.append(served.client.post("/v1/videos", **WAYS["/v1/videos"]("again"), headers=again).json())
            assert count(served, "batches") == 1
            # A line of a batch is one or the other.
            assert count(served, "(SELECT FROM generations UNION ALL SELECT FROM batch_requests) made") == 4
        return found

    assert replies("0") == replies("1")
