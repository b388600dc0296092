"""`/metrics`: for administrators, without anybody's secrets, and in time whatever hangs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx2
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from cinelet.api import service_metrics
from cinelet.domain.errors import ProcessingError
from cinelet.jobs.keys import Keys, Role
from cinelet.observability.metrics_link import MetricsLink
from cinelet.testing import FakeBackend
from tests.api.served import Served, made
from tests.observability.counted import fresh_names

PROMPT = "an unmistakable narwhal"
LIMIT_SECONDS = 1.0
Result = TypeVar("Result")


@pytest.fixture(scope="module", autouse=True)
def nobody_is_known() -> Iterator[None]:
    with fresh_names():
        yield


def scraped(client: httpx2.Client) -> dict[str, float]:
    """Return the value of each sample by its name and labels, as Prometheus writes them."""
    reply = client.get("/metrics")
    assert reply.status_code == 200, reply.text
    return {
        f"{sample.name}{{{','.join(f'{name}={value}' for name, value in sorted(sample.labels.items()))}}}": sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


@contextmanager
def hanging(pids: list[int]) -> Iterator[None]:
    """Keep processes from doing anything, as a machine does that hangs."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def in_time(scrape: Callable[[], Result]) -> Result:
    """Return what a scrape gives, where one of three ends in time: other tests keep this machine busy."""
    ended: list[tuple[float, Result]] = []
    for _ in range(3):
        began = time.monotonic()
        found = scrape()
        ended.append((time.monotonic() - began, found))
    seconds, found = min(ended, key=lambda each: each[0])
    assert seconds < LIMIT_SECONDS
    return found


def test_a_video_is_seen_from_the_request_to_the_store(client: httpx2.Client) -> None:
    before = scraped(client)
    made(client, PROMPT, seed=5)
    after = scraped(client)

    def grew(name: str) -> float:
        return float(after.get(name, 0) - before.get(name, 0))

    assert grew("cinelet_http_requests_total{method=POST,process=api,route=/v1/text-to-video,status=2xx}") == 1
    assert grew("cinelet_http_request_seconds_count{method=POST,process=api,route=/v1/text-to-video}") == 1
    assert grew("cinelet_queue_wait_seconds_count{process=api,queue=local}") == 1
    assert grew("cinelet_generations_ended_total{process=api,queue=local,state=completed}") == 1
    assert grew("cinelet_video_seconds_total{model=embedded,process=api}") == 1
    assert grew("cinelet_stage_seconds_count{model=embedded,process=api,stage=storing}") == 1
    assert after["cinelet_database_up{process=api}"] == after["cinelet_process_up{process=api}"] == 1
    assert after["cinelet_workers{process=api,queue=local}"] == 1
    assert 0 < after["cinelet_disk_bytes{kind=free,process=api}"] < after["cinelet_disk_bytes{kind=total,process=api}"]


def test_nobody_is_named_and_nothing_is_told_that_somebody_wrote(client: httpx2.Client) -> None:
    generation = made(client, PROMPT)
    client.get(f"/v1/generations/{generation['id']}")
    client.get("/v1/generations/secret-place")
    text = client.get("/metrics").text
    for secret in ("narwhal", generation["id"], "secret-place"):
        assert secret not in text
    assert 'route="/v1/generations/{generation_id}"' in text


def test_errors_are_counted_by_their_codes(client: httpx2.Client) -> None:
    before = scraped(client)
    client.post("/v1/text-to-video", json={"prompt": ""})
    client.get("/no/such/path")
    after = scraped(client)
    for code in ("invalid_request", "not_found"):
        name = f"cinelet_http_errors_total{{code={code},process=api}}"
        assert after[name] == before.get(name, 0) + 1


def test_a_failure_is_counted_with_its_model_and_code(
    client: httpx2.Client, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = scraped(client)
    monkeypatch.setattr(backend, "error", ProcessingError("The lens is cracked", "denoising"))
    reply = client.post(
        "/v1/text-to-video", json={"prompt": PROMPT, "duration": 1, "fps": 4}, headers={"prefer": "wait=30"}
    )
    assert reply.json()["state"] == "failed"
    after = scraped(client)
    code = reply.json()["error"]["code"]
    for name in (
        "cinelet_generations_ended_total{process=api,queue=local,state=failed}",
        f"cinelet_generation_errors_total{{code={code},model=embedded,process=api}}",
    ):
        assert after[name] == before.get(name, 0) + 1


def test_whoever_asks_for_openmetrics_gets_it(client: httpx2.Client) -> None:
    reply = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0, text/plain;q=0.5"})
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family.type for family in openmetrics.text_string_to_metric_families(reply.text)}
    assert families["cinelet_http_requests"] == "counter"
    assert families["cinelet_stage_seconds"] == "histogram"


class Beside:
    """A worker that was started, never answers, and one that has ended."""

    def __init__(self) -> None:
        self.silent = MetricsLink()
        self.links: dict[str, MetricsLink | None] = {"local": self.silent, "remote": None}


def test_a_worker_that_does_not_answer_is_told_of(
    client: httpx2.Client, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = Beside()
    monkeypatch.setattr(served.app.state.metrics, "_workers", beside)
    found = in_time(lambda: scraped(client))
    served.with_jobs(lambda _: beside.silent.aclose())
    assert {name: value for name, value in found.items() if name.startswith("cinelet_process_up")} == {
        "cinelet_process_up{process=api}": 1,
        "cinelet_process_up{process=local}": 0,
        "cinelet_process_up{process=remote}": 0,
    }
    assert found["cinelet_database_up{process=api}"] == 1


@pytest.fixture
def guarded(copy_data: Callable[[Path], Path], tmp_path: Path) -> Iterator[Served]:
    with Served(copy_data(tmp_path / "data"), make_backend=FakeBackend, worker=False) as served:
        yield served


def with_key(served: Served, role: Role) -> httpx2.Client:
    _, secret = served.with_database(lambda database: Keys(database).create(role.value, role=role))
    return httpx2.Client(base_url=served.url, headers={"authorization": f"Bearer {secret}"}, timeout=30, verify=False)


def test_while_the_database_hangs_who_was_let_in_before_scrapes_on_and_nobody_waits(
    guarded: Served, processes_of: Callable[[Path], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_metrics, "DATABASE_SECONDS", 0.0)
    monkeypatch.setattr(guarded.app.state.metrics._database, "_fresh_seconds", 0.0)
    monkeypatch.setattr("cinelet.jobs.keys.REMEMBERED_SECONDS", 0.0)
    with with_key(guarded, Role.ADMIN) as scraper, with_key(guarded, Role.ADMIN) as stranger:
        assert scraped(scraper)["cinelet_database_up{process=api}"] == 1
        with hanging(processes_of(guarded.config.cinelet_data_dir / "database" / "postgres")):
            found = in_time(lambda: scraped(scraper))
            assert found["cinelet_database_up{process=api}"] == 0
            assert not [name for name in found if name.startswith("cinelet_generations{")]
            reply = in_time(lambda: stranger.get("/metrics"))
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "database_unavailable")
        end = time.monotonic() + 20
        while scraped(scraper)["cinelet_database_up{process=api}"] == 0:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert scraped(stranger)["cinelet_database_up{process=api}"] == 1


def test_a_key_that_was_revoked_scrapes_no_more(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cinelet.jobs.keys.REMEMBERED_SECONDS", 0.0)
    with with_key(guarded, Role.ADMIN) as scraper:
        scraped(scraper)
        (key,) = guarded.with_database(lambda database: Keys(database).list())
        guarded.with_database(lambda database: Keys(database).revoke(key.id))
        assert scraper.get("/metrics").status_code == 401


@pytest.mark.parametrize("role", [Role.READ, Role.GENERATE])
def test_a_key_of_another_role_is_refused(guarded: Served, role: Role) -> None:
    with with_key(guarded, role) as caller:
        assert caller.get("/metrics").status_code == 403
    assert guarded.client.get("/metrics").status_code == 401
