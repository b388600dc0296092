"""What an administrator sees: what waits, who works, who may ask, and what failed; and that nobody else does."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cinelet.clock import SystemClock
from cinelet.domain.backend import Backend, Context, GeneratedVideo
from cinelet.domain.condition import Condition, Device, LoadedModel
from cinelet.domain.errors import HuggingFaceAPIError, ProcessingError
from cinelet.domain.request import VideoRequest
from cinelet.jobs.database import Database
from cinelet.jobs.keys import Keys, Role
from cinelet.jobs.roster import HEARD_OF_SECONDS
from cinelet.resilience import BreakerBackend, FallbackBackend, circuit_of
from cinelet.testing import FakeBackend
from tests.api.served import SHORT, Served

FAILING, BROKEN = "hf:org/failing:fal-ai", "local:org/broken"
PATHS = ["/v1/admin/queue", "/v1/admin/workers", "/v1/admin/keys", "/v1/admin/failures"]
SECONDS = 20.0


class Fails(FakeBackend):
    """Makes videos, but not with two models."""

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        if request.model == FAILING:
            raise HuggingFaceAPIError("fal-ai is overloaded", status=503, provider="fal-ai")
        if request.model == BROKEN:
            raise ProcessingError("A tensor is \0 not a number", "denoising")
        return await super().generate(request, context)


@pytest.fixture(scope="module")
def backend() -> Fails:
    return Fails()


@pytest.fixture(scope="module")
def served(
    copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory, backend: Fails
) -> Iterator[Served]:
    """A service without keys, a worker beside it, and policies around the backend."""
    clock = SystemClock()

    def make_backend() -> Backend:
        guarded = BreakerBackend(backend, key=circuit_of, clock=clock)
        return FallbackBackend(guarded, expand=expand, fallbacks={}, clock=clock)

    async def expand(model: Any, _: Any) -> Any:
        return (model,)

    with Served(copy_data(tmp_path_factory.mktemp("admin") / "data"), make_backend=make_backend) as served:
        yield served


@pytest.fixture(scope="module")
def waiting(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service without workers: what is asked for stays queued."""
    data = copy_data(tmp_path_factory.mktemp("waiting") / "data")
    with Served(data, make_backend=FakeBackend, worker=False, cinelet_queue_length=50) as served:
        yield served


def get(client: httpx2.Client, path: str, **parameters: Any) -> Any:
    reply = client.get(path, params=parameters)
    assert reply.status_code == 200, reply.text
    return reply.json()


def eventually(look: Callable[[], Any]) -> Any:
    """Return what a look gives as soon as it gives anything."""
    end = time.monotonic() + SECONDS
    while not (found := look()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)
    return found


def failed(client: httpx2.Client, model: str) -> dict[str, Any]:
    body = {"prompt": "a secret gull", "model": model, "fallback": False, **SHORT}
    generation: dict[str, Any] = client.post("/v1/text-to-video", json=body, headers={"prefer": "wait=30"}).json()
    assert generation["state"] == "failed", generation
    return generation


def workers_of(served: Served) -> Any:
    return get(served.client, "/v1/admin/workers")["data"]


def test_a_worker_is_shown_with_its_queues_its_memory_and_what_it_has_done(served: Served) -> None:
    began = time.time()
    reply = served.client.post("/v1/text-to-video", json={"prompt": "x", **SHORT}, headers={"prefer": "wait=30"})
    assert reply.json()["state"] == "completed"
    (worker,) = eventually(lambda: [one for one in workers_of(served) if one["finished"] and not one["running"]])
    assert worker["queues"] == {"remote": 8, "local": 4}
    assert worker["name"].startswith(f"{worker['host']}:{worker['pid']}:")
    assert began - 60 < worker["started_at"] <= worker["seen_at"] + 1
    assert worker["resident_bytes"] > 10_000_000
    assert worker["device"] == dict.fromkeys(("name", "total_bytes", "free_bytes", "allocated_bytes", "reserved_bytes"))
    assert (worker["models"], worker["circuits"]) == ([], [])


def test_what_a_worker_has_loaded_is_shown_with_its_device(served: Served, backend: Fails) -> None:
    model = LoadedModel(
        "local:org/name",
        "cuda:0",
        revision="c0ffee",
        bytes=5_000_000_000,
        estimated_bytes=4_900_000_000,
        placement="bfloat16, no offload",
    )
    backend.told = Condition(Device("cuda:0", 80 * 10**9, 60 * 10**9, 5 * 10**9, 6 * 10**9), (model,))
    served.client.post("/v1/text-to-video", json={"prompt": "y", **SHORT}, headers={"prefer": "wait=30"})
    (worker,) = eventually(lambda: [one for one in workers_of(served) if one["models"]])
    backend.told = Condition()
    assert worker["models"] == [
        {
            "model": "local:org/name",
            "revision": "c0ffee",
            "bytes": 5_000_000_000,
            "estimated_bytes": 4_900_000_000,
            "device": "cuda:0",
            "placement": "bfloat16, no offload",
        }
    ]
    assert (worker["device"]["name"], worker["device"]["free_bytes"]) == ("cuda:0", 60 * 10**9)


def test_a_model_that_keeps_failing_is_shown_as_left_alone(served: Served) -> None:
    generations = [failed(served.client, FAILING) for _ in range(6)]
    assert generations[-1]["error"]["code"] == "circuit_open"
    (worker,) = eventually(lambda: [one for one in workers_of(served) if "open" in states(one)])
    (circuit,) = worker["circuits"]
    assert (circuit["name"], circuit["state"], circuit["failures"]) == (FAILING, "open", 5)
    assert 0 < circuit["open_seconds"] <= 30


def states(worker: dict[str, Any]) -> list[str]:
    return [circuit["state"] for circuit in worker["circuits"]]


def test_a_worker_that_was_not_heard_of_for_thirty_seconds_is_not_shown(served: Served) -> None:
    async def left_behind(database: Database) -> None:
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO workers SELECT 'killed:1:a', clock_timestamp() - make_interval(secs => %s), report"
                " FROM workers LIMIT 1",
                [HEARD_OF_SECONDS],
            )

    eventually(lambda: workers_of(served))
    served.with_database(left_behind)
    assert "killed:1:a" not in [worker["name"] for worker in workers_of(served)]


def test_failures_are_grouped_by_code_and_model_the_most_frequent_first(served: Served) -> None:
    broken = [failed(served.client, BROKEN) for _ in range(7)]
    shown = get(served.client, "/v1/admin/failures")["data"]
    first = shown[0]
    assert (first["code"], first["model"], first["count"]) == ("processing_failed", BROKEN, 7)
    assert first["generation_id"] == broken[-1]["id"]
    assert first["last_at"] == broken[-1]["finished_at"]
    assert first["message"].startswith("A tensor is \0 not")
    assert [kind["count"] for kind in shown] == sorted((kind["count"] for kind in shown), reverse=True)
    assert "secret gull" not in str(shown)

    async def long_ago(database: Database) -> None:
        async with database.connection() as connection:
            await connection.execute("UPDATE generations SET finished_at = finished_at - interval '2 hours'")

    served.with_database(long_ago)
    assert get(served.client, "/v1/admin/failures", hours=1)["data"] == []
    assert get(served.client, "/v1/admin/failures", hours=3)["data"][0]["count"] == 7


@pytest.mark.parametrize("hours", ["0", "745", "x"])
def test_hours_that_make_no_sense_are_refused_by_name(served: Served, hours: str) -> None:
    reply = served.client.get("/v1/admin/failures", params={"hours": hours})
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, "hours")


def test_the_queue_is_counted_by_its_parts(waiting: Served) -> None:
    client = waiting.client
    nothing = {"local": 0, "remote": 0}
    assert get(client, "/v1/admin/queue") == {
        "object": "queue", "queued": nothing, "in_progress": nothing, "oldest_wait_seconds": None, "max_waiting": 50,
    }  # fmt: skip
    for model in ("embedded", FAILING, FAILING):
        assert client.post("/v1/text-to-video", json={"prompt": "x", "model": model, **SHORT}).status_code == 202
    running = client.post("/v1/text-to-video", json={"prompt": "y", "model": FAILING, **SHORT}).json()["id"]

    async def claimed(database: Database) -> None:
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE generations SET state = 'in_progress', worker = 'w' WHERE id = %s", [running]
            )
            await connection.execute("UPDATE generations SET created_at = created_at - interval '1 minute'")

    waiting.with_database(claimed)
    found = get(client, "/v1/admin/queue")
    assert (found["queued"], found["in_progress"]) == ({"local": 1, "remote": 2}, {"local": 0, "remote": 1})
    assert 60 <= found["oldest_wait_seconds"] < 90


def test_what_is_delayed_does_not_wait_yet(waiting: Served) -> None:
    async def delayed(database: Database) -> None:
        async with database.connection() as connection:
            await connection.execute("UPDATE generations SET not_before = clock_timestamp() + interval '1 hour'")

    waiting.client.post("/v1/text-to-video", json={"prompt": "z", **SHORT})
    waiting.with_database(delayed)
    found = get(waiting.client, "/v1/admin/queue")
    assert sum(found["queued"].values()) > 0
    assert found["oldest_wait_seconds"] is None


def test_keys_are_shown_with_what_their_owners_used_and_without_any_secret(
    copy_data: Callable[[Path], Path], tmp_path: Path
) -> None:
    with Served(copy_data(tmp_path / "data"), make_backend=FakeBackend, worker=False) as served:

        def created(name: str, **values: Any) -> tuple[Any, str]:
            return served.with_database(lambda database: Keys(database).create(name, **values))

        root, root_secret = created("root", role=Role.ADMIN)
        shop, shop_secret = created(
            "shop", requests_per_minute=90, running=8, webhook_url="https://example.org/hooks?token=swordfish"
        )
        used = {"authorization": f"Bearer {shop_secret}"}
        ids = []
        for number in range(3):
            body = {"prompt": f"gull {number}", "duration": 2, "fps": 4}
            ids.append(served.client.post("/v1/text-to-video", json=body, headers=used).json()["id"])
        served.client.post(f"/v1/generations/{ids[0]}/cancel", headers=used)
        served.client.delete(f"/v1/generations/{ids[0]}", headers=used)
        reply = served.client.get("/v1/admin/keys", headers={"authorization": f"Bearer {root_secret}"})
        assert reply.status_code == 200
        newest, oldest = reply.json()["data"]
        assert (newest["id"], newest["name"], newest["owner"]) == (shop.id, "shop", "shop")
        assert newest["limits"] == {
            "requests_per_minute": 90,
            "running": 8,
            "video_seconds_per_day": None,
            "budget_per_day": None,
            "currency": None,
        }
        assert newest["use"] == {"generations": 3, "video_seconds": 4, "cost": 0, "currency": "USD"}
        assert newest["created_at"] == shop.created_at.timestamp()
        assert newest["last_used_at"] >= newest["created_at"]
        assert newest["revoked_at"] is None
        assert (oldest["role"], oldest["use"]) == (
            "admin",
            {"generations": 0, "video_seconds": 0, "cost": 0, "currency": "USD"},
        )
        for secret in (root_secret, shop_secret):
            digest = hashlib.sha256(secret.encode())
            assert not [one for one in (secret, secret[4:20], digest.hexdigest(), "swordfish") if one in reply.text]
        served.with_database(lambda database: Keys(database).revoke(root.id))
        for path in PATHS:
            refused = served.client.get(path, headers=used)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_allowed")


def test_no_answer_to_an_administrator_holds_a_prompt_or_a_secret(served: Served) -> None:
    for path in PATHS:
        reply = served.client.get(path)
        assert reply.status_code == 200
        assert not [one for one in ("secret gull", "sha256", "secret_", "cin_") if one in reply.text]


def test_the_description_says_what_each_answer_is(served: Served) -> None:
    described = get(served.client, "/openapi.json")
    for path in [*PATHS, "/v1/me", "/v1/models/{model}"]:
        schema = described["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema["$ref"].startswith("#/components/schemas/"), path
