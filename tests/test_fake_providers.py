"""The fake internet is faithful: the stock client makes videos with it, and breaks as it does in the real world."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import errors
from huggingface_hub.inference._providers import fal_ai, together, wavespeed
from huggingface_hub.inference._providers._common import _fetch_inference_provider_mapping
from huggingface_hub.utils import _http

from cinelet.testing.frames import decoded_frames, example_image
from tests.fake_providers import (
    ENDPOINT_URL,
    HF_TOKEN,
    I2V_MODEL,
    KEYS,
    OTHER_HF_TOKEN,
    T2V_MODEL,
    FakeInternet,
)
from tests.fake_providers.faults import Kind

OFFERS = [("text-to-video", name) for name in KEYS]
OFFERS += [("image-to-video", name) for name in ("fal-ai", "wavespeed", "together")]
FAL_T2V = "https://router.huggingface.co/fal-ai/fal-ai/wan/v2.2-a14b/text-to-video"
BEARER = {"authorization": f"Bearer {HF_TOKEN}"}


@pytest.fixture
def internet() -> Iterator[FakeInternet]:
    with FakeInternet() as internet:
        yield internet


@pytest.fixture
def http(internet: FakeInternet) -> Iterator[httpx2.Client]:
    with httpx2.Client(transport=internet.sync_transport(), timeout=30) as client:
        yield client


@dataclass(slots=True)
class Stock:
    """huggingface_hub, talking to the fake. Only its waits are shortened; every request is its own."""

    internet: FakeInternet
    timeout_seconds: float = 30

    def generate(self, *, provider: str = "fal-ai", task: str = "text-to-video", token: str = HF_TOKEN) -> Any:
        options: Any = {"provider": provider, "token": token, "timeout": self.timeout_seconds}
        client = huggingface_hub.InferenceClient(**options)
        if task == "text-to-video":
            return client.text_to_video("a red circle", model=T2V_MODEL)
        return client.image_to_video(example_image(), prompt="a red circle", model=I2V_MODEL)

    async def generate_async(self, *, provider: str, task: str) -> Any:
        options: Any = {"provider": provider, "token": HF_TOKEN}
        async with huggingface_hub.AsyncInferenceClient(**options) as client:
            if task == "text-to-video":
                return await client.text_to_video("a red circle", model=T2V_MODEL)
            return await client.image_to_video(example_image(), prompt="a red circle", model=I2V_MODEL)

    def make_client(self) -> httpx2.Client:
        transport = self.internet.sync_transport()
        return httpx2.Client(transport=transport, follow_redirects=True, timeout=self.timeout_seconds)

    def make_async_client(self) -> httpx2.AsyncClient:
        transport = self.internet.transport()
        return httpx2.AsyncClient(transport=transport, follow_redirects=True, timeout=self.timeout_seconds)


@pytest.fixture
def stock(internet: FakeInternet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stock]:
    stock = Stock(internet)
    monkeypatch.setenv("HF_TOKEN", HF_TOKEN)
    monkeypatch.setattr(fal_ai, "_POLLING_INTERVAL", 0.001)
    monkeypatch.setattr(wavespeed, "_POLLING_INTERVAL", 0.001)
    monkeypatch.setattr(together, "_VIDEO_POLLING_INTERVAL", 0.001)
    huggingface_hub.set_client_factory(stock.make_client)
    huggingface_hub.set_async_client_factory(stock.make_async_client)
    _fetch_inference_provider_mapping.cache_clear()
    yield stock
    huggingface_hub.set_client_factory(_http.default_client_factory)
    huggingface_hub.set_async_client_factory(_http.default_async_client_factory)
    _fetch_inference_provider_mapping.cache_clear()


@pytest.mark.parametrize(("task", "provider"), OFFERS)
@pytest.mark.parametrize("direct", [False, True], ids=["router", "direct"])
def test_the_stock_client_makes_a_video(
    internet: FakeInternet, stock: Stock, task: str, provider: str, direct: bool
) -> None:
    assert stock.generate(provider=provider, task=task, token=KEYS[provider] if direct else HF_TOKEN) == internet.video
    assert (internet.posts, internet.paid(provider, prompt="a red circle"), internet.cancelled) == (1, 1, 0)
    assert not internet.leaks
    assert not internet.strays


@pytest.mark.parametrize(("task", "provider"), OFFERS)
def test_the_stock_async_client_makes_a_video(internet: FakeInternet, stock: Stock, task: str, provider: str) -> None:
    assert asyncio.run(stock.generate_async(provider=provider, task=task)) == internet.video
    assert internet.paid() == 1


def test_the_requests_are_those_of_the_real_services(internet: FakeInternet, stock: Stock) -> None:
    stock.generate()
    job = internet.jobs[0].id
    router = "router.huggingface.co/fal-ai/fal-ai/wan"
    assert [f"{seen.method} {seen.host}{seen.path}?{seen.query}" for seen in internet.requests] == [
        f"GET huggingface.co/api/models/{T2V_MODEL}?expand=inferenceProviderMapping",
        f"POST {router}/v2.2-a14b/text-to-video?_subdomain=queue",
        *[f"GET {router}/requests/{job}/status?_subdomain=queue"] * 3,
        f"GET {router}/requests/{job}?_subdomain=queue",
        f"GET v3.fal.media/files/{job}/output.mp4?",
    ]
    assert internet.requests[-1].authorization == ""


@pytest.mark.parametrize(
    ("url", "authorization"),
    [
        (FAL_T2V, ""),
        (FAL_T2V, f"Bearer {KEYS['fal-ai']}"),
        (FAL_T2V, "Bearer hf_nobody"),
        ("https://queue.fal.run/fal-ai/wan/v2.2-a14b/text-to-video", f"Bearer {KEYS['fal-ai']}"),
        ("https://queue.fal.run/fal-ai/wan/v2.2-a14b/text-to-video", f"Bearer {HF_TOKEN}"),
        ("https://api.wavespeed.ai/api/v3/wavespeed-ai/wan-2.2/t2v-480p", f"Key {KEYS['wavespeed']}"),
        ("https://api.together.xyz/v2/videos", f"Bearer {KEYS['novita']}"),
        ("https://api.replicate.com/v1/predictions", f"Bearer {HF_TOKEN}"),
        ("https://api.novita.ai/v3/hf/wan-2.2-t2v", ""),
        (ENDPOINT_URL, "Bearer nobody"),
    ],
)
def test_wrong_credentials_are_refused(
    internet: FakeInternet, http: httpx2.Client, url: str, authorization: str
) -> None:
    reply = http.post(url, json={"prompt": "a"}, headers={"authorization": authorization})
    assert (reply.status_code, internet.posts, internet.paid()) == (401, 1, 0)


@pytest.mark.parametrize(
    ("token", "model", "answer"),
    [
        (HF_TOKEN, "mine/private", (200, None)),
        (OTHER_HF_TOKEN, "mine/private", (404, "RepoNotFound")),
        (None, "mine/private", (401, "RepoNotFound")),
        (HF_TOKEN, "no/such", (404, "RepoNotFound")),
        (None, "no/such", (401, "RepoNotFound")),
        ("hf_nobody", T2V_MODEL, (401, None)),
        (None, T2V_MODEL, (200, None)),
    ],
)
def test_the_hub_shows_a_private_model_to_its_owner_only(
    internet: FakeInternet, http: httpx2.Client, token: str | None, model: str, answer: tuple[int, str | None]
) -> None:
    internet.publish("mine/private", {}, private_to=HF_TOKEN)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    reply = http.get(f"https://huggingface.co/api/models/{model}?expand=inferenceProviderMapping", headers=headers)
    assert (reply.status_code, reply.headers.get("x-error-code")) == answer


def test_the_stock_client_knows_an_unknown_model(internet: FakeInternet, stock: Stock) -> None:
    internet.fail("mapping", status=404, headers={"x-error-code": "RepoNotFound"})
    with pytest.raises(errors.RepositoryNotFoundError):
        stock.generate()
    assert internet.posts == 0


@pytest.mark.parametrize(
    ("fault", "error", "paid"),
    [
        ({"stage": "submit", "status": 503}, errors.HfHubHTTPError, 0),
        ({"stage": "submit", "status": 429, "headers": {"Retry-After": "7"}}, errors.HfHubHTTPError, 0),
        ({"stage": "submit", "status": 400}, errors.BadRequestError, 0),
        ({"stage": "submit", "kind": "hang"}, errors.InferenceTimeoutError, 0),
        ({"stage": "submit", "kind": "close"}, httpx2.RemoteProtocolError, 0),
        ({"stage": "submit", "kind": "reset"}, httpx2.ReadError, 0),
        ({"stage": "submit", "html": True}, JSONDecodeError, 0),
        ({"stage": "submit", "json": {}}, ValueError, 0),
        ({"stage": "submit", "status": 500, "accepted": True}, errors.HfHubHTTPError, 1),
        ({"stage": "submit", "kind": "reset", "accepted": True}, httpx2.ReadError, 1),
        ({"stage": "submit", "kind": "close", "after_bytes": 5}, httpx2.RemoteProtocolError, 1),
        ({"stage": "submit", "kind": "hang", "accepted": True}, errors.InferenceTimeoutError, 1),
        ({"stage": "submit", "kind": "cut", "after_bytes": 20}, JSONDecodeError, 1),
        ({"stage": "poll", "status": 503}, errors.HfHubHTTPError, 1),
        ({"stage": "poll", "kind": "hang"}, httpx2.ReadTimeout, 1),
        ({"stage": "poll", "html": True}, JSONDecodeError, 1),
        ({"stage": "result", "status": 422, "json": {"detail": "no"}}, KeyError, 1),
        ({"stage": "download", "kind": "close", "after_bytes": 1000}, httpx2.RemoteProtocolError, 1),
        ({"stage": "download", "kind": "reset", "after_bytes": 1000}, httpx2.ReadError, 1),
        ({"stage": "download", "kind": "hang", "after_bytes": 1000}, httpx2.ReadTimeout, 1),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_a_fault_breaks_the_stock_client_as_it_does_in_the_real_world(
    internet: FakeInternet, stock: Stock, fault: dict[str, Any], error: type[Exception], paid: int
) -> None:
    stock.timeout_seconds = 1 if fault.get("kind") == "hang" else 30
    internet.fail(**fault)
    with pytest.raises(error):
        stock.generate()
    assert (internet.posts, internet.paid()) == (1, paid)
    assert not internet.faults_left


@pytest.mark.parametrize(
    ("fault", "starts_with", "length"),
    [
        ({"status": 404, "html": True}, b"<!DOCTYPE html>", None),
        ({"status": 403, "content": b"<Error>"}, b"<Error>", 7),
        ({"html": True}, b"<!DOCTYPE html>", None),
        ({"kind": "cut", "after_bytes": 100}, b"\0\0\0", 100),
        ({"content": b""}, b"", 0),
    ],
)
def test_the_stock_client_takes_anything_for_a_video(
    internet: FakeInternet, stock: Stock, fault: dict[str, Any], starts_with: bytes, length: int | None
) -> None:
    internet.fail("download", **fault)
    wrong = stock.generate()
    assert wrong.startswith(starts_with)
    assert wrong != internet.video
    assert length in {None, len(wrong)}


def test_the_stock_client_polls_on_whatever_the_status_is(internet: FakeInternet, stock: Stock) -> None:
    internet.jobs_take(queued_polls=math.inf)
    internet.fail("poll", json={"status": "FAILED"}, times=20)
    internet.fail("poll", kind="reply", status=200, json={"status": "IN_QUEUE"}, times=20)
    internet.fail("poll", status=404)
    with pytest.raises(errors.HfHubHTTPError):
        stock.generate()
    assert sum(request.stage == "poll" for request in internet.requests) == 41


@pytest.mark.parametrize(
    ("provider", "error", "text"),
    [
        ("fal-ai", KeyError, "video"),
        ("wavespeed", ValueError, "no such style"),
        ("together", RuntimeError, "no such style"),
        ("replicate", TimeoutError, "timed out"),
        ("novita", errors.HfHubHTTPError, "422"),
    ],
)
def test_a_failed_job_is_told_in_each_providers_way(
    internet: FakeInternet, stock: Stock, provider: str, error: type[Exception], text: str
) -> None:
    internet.jobs_fail("no such style")
    with pytest.raises(error, match=text):
        stock.generate(provider=provider)
    assert internet.paid(provider) == 1


def test_fal_takes_a_wrong_request_and_says_so_in_the_result(internet: FakeInternet, http: httpx2.Client) -> None:
    internet.jobs_take(queued_polls=0, running_polls=0)
    job = http.post(f"{FAL_T2V}?_subdomain=queue", json={"text": "a"}, headers=BEARER).json()
    url = re.sub("queue.fal.run", "router.huggingface.co/fal-ai", job["response_url"])
    assert http.get(f"{url}/status", headers=BEARER).json()["status"] == "COMPLETED"
    result = http.get(url, headers=BEARER)
    assert (result.status_code, result.json()["detail"][0]["msg"]) == (422, "A prompt is required")


def test_jobs_can_be_cancelled_where_the_provider_has_a_way(internet: FakeInternet, http: httpx2.Client) -> None:
    fal = {"authorization": f"Key {KEYS['fal-ai']}"}
    submitted = http.post("https://queue.fal.run/fal-ai/wan/v2.2-a14b/text-to-video", json={"prompt": "a"}, headers=fal)
    assert http.put(submitted.json()["cancel_url"], headers=BEARER).status_code == 401
    assert http.put(submitted.json()["cancel_url"], headers=fal).json() == {"status": "CANCELLATION_REQUESTED"}
    replicate = {"authorization": f"Bearer {KEYS['replicate']}"}
    url = "https://api.replicate.com/v1/models/wan-video/wan-2.2-t2v-fast/predictions"
    prediction = http.post(url, json={"input": {"prompt": "a"}}, headers=replicate).json()
    assert prediction["status"] == "starting"
    assert http.post(prediction["urls"]["cancel"], headers=replicate).json()["status"] == "canceled"
    assert (internet.posts, internet.paid(), internet.cancelled) == (2, 2, 2)


def test_a_job_is_its_callers_alone(http: httpx2.Client) -> None:
    job = http.post(f"{FAL_T2V}?_subdomain=queue", json={"prompt": "a"}, headers=BEARER).json()["request_id"]
    url = f"https://router.huggingface.co/fal-ai/fal-ai/wan/requests/{job}/status?_subdomain=queue"
    assert http.get(url, headers=BEARER).status_code == 202
    assert http.get(url, headers={"authorization": f"Bearer {OTHER_HF_TOKEN}"}).status_code == 404


def test_an_endpoint_answers_with_the_video(internet: FakeInternet, http: httpx2.Client) -> None:
    reply = http.post(ENDPOINT_URL, json={"inputs": "a red circle", "parameters": {"seed": 7}}, headers=BEARER)
    assert (reply.content, reply.headers["content-type"]) == (internet.video, "video/mp4")
    assert internet.paid("endpoint", prompt="a red circle") == 1


def test_a_large_file_is_a_video_too_and_comes_in_ranges(
    internet: FakeInternet, stock: Stock, http: httpx2.Client, tmp_path: Path
) -> None:
    internet.videos_have(size_bytes=1_000_000)
    video = stock.generate()
    (tmp_path / "video.mp4").write_bytes(video)
    assert (len(video), len(decoded_frames(tmp_path / "video.mp4"))) == (1_000_000, 8)
    url = f"https://v3.fal.media/files/{internet.jobs[0].id}/output.mp4"
    part = http.get(url, headers={"range": "bytes=2000-4999"})
    assert (part.status_code, part.content) == (206, video[2000:5000])
    assert part.headers["content-range"] == "bytes 2000-4999/1000000"
    assert http.get(url, headers={"range": "bytes=999990-"}).content == video[-10:]
    assert http.get(url, headers={"range": "bytes=1000000-"}).status_code == 416


@pytest.mark.parametrize("kind", ["endless", "slow", "hang"])
def test_the_end_does_not_wait_for_clients(
    internet: FakeInternet, stock: Stock, http: httpx2.Client, kind: Kind
) -> None:
    stock.generate()
    internet.fail("download", kind, seconds=0 if kind == "hang" else 0.01, after_bytes=10)
    url = f"https://v3.fal.media/files/{internet.jobs[0].id}/output.mp4"
    with http.stream("GET", url) as reply:
        assert next(reply.iter_raw(10))
        internet.close()
    assert not internet._server._thread.is_alive()


def test_a_redirect_leads_where_the_test_wants(internet: FakeInternet, stock: Stock) -> None:
    internet.fail("download", status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/"})
    with pytest.raises(httpx2.ConnectError):
        stock.generate()
    assert internet.strays == ("GET http://169.254.169.254/latest/meta-data/",)


@pytest.mark.parametrize(
    "url", ["https://example.com/", "http://huggingface.co/", "https://huggingface.co:8443/", "https://10.0.0.1/"]
)
def test_nothing_else_is_reachable(internet: FakeInternet, http: httpx2.Client, url: str) -> None:
    with pytest.raises(httpx2.ConnectError):
        http.get(url)
    assert (internet.strays, internet.requests) == ((f"GET {url}",), ())


def test_a_pinned_address_needs_the_right_name(internet: FakeInternet, http: httpx2.Client) -> None:
    (address,) = asyncio.run(internet.resolve("v3.fal.media", 443))
    url, host = f"https://{address}/nothing", {"host": "v3.fal.media"}
    assert http.get(url, headers=host, extensions={"sni_hostname": "v3.fal.media"}).status_code == 404
    with pytest.raises(httpx2.ConnectError, match="certificate"):
        http.get(url, headers=host)
    with pytest.raises(httpx2.ConnectError):
        http.get(url, headers={"host": "replicate.delivery"}, extensions={"sni_hostname": "replicate.delivery"})
    with pytest.raises(OSError, match="not known"):
        asyncio.run(internet.resolve("no.such.host", 443))


def test_a_name_can_be_made_to_lead_elsewhere(internet: FakeInternet, stock: Stock) -> None:
    internet.wire.addresses["v3.fal.media"] = ["10.0.0.1"]
    assert asyncio.run(internet.resolve("v3.fal.media", 443)) == ["10.0.0.1"]
    with pytest.raises(httpx2.ConnectError):
        stock.generate()


def test_a_key_shown_to_the_wrong_host_is_noticed(internet: FakeInternet, http: httpx2.Client) -> None:
    http.get("https://v3.fal.media/files/x", headers=BEARER)
    assert [leak.host for leak in internet.leaks] == ["v3.fal.media"]


def test_a_test_can_wait_for_and_act_on_what_arrives(internet: FakeInternet, stock: Stock) -> None:
    seen: list[str] = []
    internet.on_request(lambda request: seen.append(request.stage))

    async def run() -> None:
        generation = asyncio.create_task(asyncio.to_thread(stock.generate))
        await internet.until(lambda: internet.paid() == 1)
        await generation
        with pytest.raises(TimeoutError):
            await internet.until(lambda: internet.paid() == 2, seconds=0.01)

    asyncio.run(run())
    assert seen == ["mapping", "submit", "poll", "poll", "poll", "result", "download"]


@pytest.mark.parametrize("provider", ["fal-ai", "replicate", "novita"])
def test_a_job_can_take_time_instead_of_polls(internet: FakeInternet, stock: Stock, provider: str) -> None:
    internet.jobs_take(queued_polls=0, running_polls=0, seconds=0.05)
    assert stock.generate(provider=provider) == internet.video
    assert time.monotonic() - internet.jobs[0].accepted_at >= 0.05


def test_two_internets_know_nothing_of_each_other(internet: FakeInternet, stock: Stock) -> None:
    with FakeInternet() as other:
        stock.generate()
        assert (internet.paid(), other.paid()) == (1, 0)
