"""No prompt, key or token is in an error or in a log, whatever way a request fails."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cinelet.domain.errors import ProcessingError
from cinelet.jobs.errors import DatabaseUnavailableError
from cinelet.jobs.keys import Keys, Role
from cinelet.jobs.queue import JobQueue
from cinelet.testing import FakeBackend
from tests.api.served import Served

PROMPT = "the grey heron of unit forty-two"
TOKEN = "hf_" + "q" * 34
PASSWORD = "swordfish-7"
SIGNATURE = "c0ffee" * 8
SHORT = {"prompt": PROMPT, "duration": 1, "fps": 4}
BAD: dict[str, dict[str, Any]] = {
    "no JSON": {"content": f'{{"prompt": "{PROMPT}'.encode(), "headers": {"content-type": "application/json"}},
    "a list": {"json": [PROMPT]},
    "a text": {"json": PROMPT},
    "another type": {"json": {"prompt": [PROMPT]}},
    "too long": {"json": {"prompt": PROMPT * 100}},
    "an unknown field": {"json": {**SHORT, "more": PROMPT}},
    "a wrong number": {"json": {**SHORT, "fps": PROMPT}},
    "a wrong choice": {"json": {**SHORT, "codec": PROMPT, "preset": PROMPT, "cache": PROMPT}},
    "half a character": {"content": json.dumps({**SHORT, "negative_prompt": f"{PROMPT} \ud800"}).encode(),
                         "headers": {"content-type": "application/json"}},
    "too wide": {"json": {**SHORT, "width": 64}},
    "a form": {"data": SHORT},
    "a strange form": {"data": {**SHORT, "more": PROMPT}, "files": {"x": (PROMPT, PROMPT.encode())}},
    "a broken form": {"content": PROMPT.encode(), "headers": {"content-type": "multipart/form-data; boundary=b"}},
    "another kind": {"content": PROMPT.encode(), "headers": {"content-type": "text/plain"}},
    "no data URI": {"json": {**SHORT, "image": f"data:text/plain,{PROMPT}"}},
    "a private address": {"json": {**SHORT, "image": f"https://u:{PASSWORD}@127.0.0.1/x?signature={SIGNATURE}"}},
    "a signed address": {"json": {**SHORT, "image": f"https://127.0.0.1/x?X-Amz-Signature={SIGNATURE}"}},
    "no address": {"json": {**SHORT, "image": PROMPT}},
    "lines": {"json": {"requests": [{**SHORT, "fps": 0}, {**SHORT, "more": PROMPT}, PROMPT]}},
    "metadata": {"json": {"requests": [SHORT], "metadata": {"a": [PROMPT]}}},
    "no lines": {"content": f'{{"prompt": "{PROMPT}'.encode(), "headers": {"content-type": "application/jsonl"}},
}  # fmt: skip
WRITING = ("/v1/text-to-video", "/v1/image-to-video", "/v1/videos", "/v1/videos/sync", "/v1/batches")


@pytest.fixture(scope="module")
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture(scope="module")
def served(
    copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory, backend: FakeBackend
) -> Iterator[Served]:
    data = copy_data(tmp_path_factory.mktemp("secrets") / "data")
    with Served(data, make_backend=lambda: backend, hf_token=TOKEN) as served:
        yield served


@pytest.fixture
def make_client(served: Served) -> Iterator[Callable[..., tuple[httpx2.Client, str]]]:
    """Return what makes a key, and gives a client that sends it and its secret."""
    clients: list[httpx2.Client] = []

    def make(**values: Any) -> tuple[httpx2.Client, str]:
        _, secret = served.with_database(lambda database: Keys(database).create("site", **values))
        headers = {"authorization": f"Bearer {secret}"}
        clients.append(httpx2.Client(base_url=served.url, headers=headers, timeout=30, verify=False))
        return clients[-1], secret

    yield make
    for client in clients:
        client.close()


def said(caplog: pytest.LogCaptureFixture) -> str:
    """Return what the service has logged: not the test's own client, nor the log of accesses, which is off."""
    others = ("httpx2", "uvicorn.access")
    records = [record for record in caplog.records if not record.name.startswith(others)]
    return "\n".join(f"{caplog.handler.format(record)} {vars(record)}" for record in records)


def require_clean(text: str, *secrets: str) -> None:
    for secret in (PROMPT, TOKEN, PASSWORD, SIGNATURE, *(secret[4:] for secret in secrets)):
        assert secret not in text, secret


@pytest.mark.parametrize("where", WRITING)
def test_what_is_wrong_is_told_without_what_was_sent(
    make_client: Callable[..., tuple[httpx2.Client, str]], caplog: pytest.LogCaptureFixture, where: str
) -> None:
    client, secret = make_client()
    refused = 0
    with caplog.at_level(logging.INFO):
        for options in BAD.values():
            reply = client.post(where, **options)
            assert reply.status_code < 500, reply.text
            if reply.status_code >= 400:
                refused += 1
                require_clean(reply.text + str(dict(reply.headers)), secret)
    assert refused > len(BAD) / 2
    require_clean(said(caplog), secret)


def test_a_refusal_repeats_no_key(
    served: Served, make_client: Callable[..., tuple[httpx2.Client, str]], caplog: pytest.LogCaptureFixture
) -> None:
    (reader, one), (slow, two) = make_client(role=Role.READ), make_client(requests_per_minute=1, running=1)
    with caplog.at_level(logging.DEBUG, "cinelet"), caplog.at_level(logging.INFO):
        replies = [
            reader.post("/v1/text-to-video", json=SHORT),
            *(slow.post("/v1/text-to-video", json=SHORT) for _ in range(2)),
            served.client.get("/v1/models", headers={"authorization": f"Bearer {one}x"}),
            served.client.get("/v1/models", headers={"authorization": f"Basic {two}"}),
            served.client.get(f"/v1/models/{one}", headers={"authorization": f"Bearer {two[:-1]}"}),
            reader.get("/v1/nothing", params={"key": one}),
            reader.put("/v1/models"),
            reader.get("/v1/generations/gen_x"),
        ]
    for reply in replies:
        require_clean(str(dict(reply.headers)) + (reply.text if reply.status_code >= 400 else ""), one, two)
    require_clean(said(caplog), one, two)


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError(f"{PROMPT} {TOKEN}"),
        KeyError(PROMPT),
        DatabaseUnavailableError("The database is away"),
        ProcessingError("It failed", "storing"),
    ],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.parametrize("where", ["/v1/text-to-video", "/v1/videos"])
def test_a_failure_here_is_told_by_its_request_and_by_nothing_else(
    make_client: Callable[..., tuple[httpx2.Client, str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    where: str,
) -> None:
    client, secret = make_client()

    async def failing(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(JobQueue, "submit", failing)
    with caplog.at_level(logging.INFO):
        reply = client.post(where, json={"prompt": PROMPT})
    assert reply.status_code in {500, 503}
    require_clean(reply.text + said(caplog), secret)
    assert reply.headers["x-request-id"]
    if reply.json()["error"]["code"] == "internal_error":
        (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert vars(record)["request"] == reply.headers["x-request-id"]
        assert vars(record)["failure"] == type(failure).__name__
        assert "failing" in vars(record)["where"]


def test_a_video_that_fails_is_told_without_its_prompt(
    make_client: Callable[..., tuple[httpx2.Client, str]], backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    client, secret = make_client()
    backend.error = RuntimeError(f"cannot draw {PROMPT} with {TOKEN}")
    try:
        with caplog.at_level(logging.INFO):
            body = {**SHORT, "fallback": False}
            reply = client.post("/v1/text-to-video", json=body, headers={"prefer": "wait=20"})
            batch = client.post("/v1/batches", json={"requests": [body]}).json()
            sync = client.post("/v1/videos/sync", json={"prompt": PROMPT})
    finally:
        backend.error = None
    assert reply.json()["state"] == "failed"
    assert sync.status_code == 500
    require_clean(json.dumps(reply.json()["error"]) + sync.text + str(batch), secret)
    require_clean(said(caplog), secret)
