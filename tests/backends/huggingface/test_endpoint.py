"""Dedicated Inference Endpoints: one POST, held until the video is its answer."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import pytest

from cinelet.backends.huggingface import endpoint
from cinelet.domain.backend import Capabilities
from cinelet.domain.errors import (
    AuthenticationError,
    CineletError,
    DeadlineExceededError,
    FileSizeError,
    HuggingFaceAPIError,
    ProcessingError,
    SubmissionUnknownError,
    ValidationError,
)
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task, VideoRequest
from cinelet.testing import example_image
from tests.backends.huggingface.caller import PROMPT, Caller
from tests.fake_providers import ENDPOINT_URL, HF_TOKEN, FakeInternet

PUBLIC = "93.184.215.14"


def to_endpoint(url: str = ENDPOINT_URL, task: Task = Task.TEXT_TO_VIDEO, **fields: Any) -> VideoRequest:
    image = example_image() if task is Task.IMAGE_TO_VIDEO else None
    return VideoRequest(task=task, model=url, **{"prompt": PROMPT, "image": image, "seed": 7, **fields})


def test_a_prompt_becomes_a_video(caller: Caller, internet: FakeInternet) -> None:
    outcome = caller.generate(to_endpoint(num_inference_steps=20, width=512, height=320, negative_prompt="blurry"))
    video = outcome.made()
    assert video.path.read_bytes() == internet.video
    assert (video.model, video.provider, video.seed) == (ENDPOINT_URL, "endpoint", 7)
    assert video.request_id
    (request,) = internet.requests
    assert (request.host, request.authorization) == (ENDPOINT_URL.removeprefix("https://"), f"Bearer {HF_TOKEN}")
    assert request.json() == {
        "inputs": PROMPT,
        "parameters": {
            "num_frames": 48,
            "num_inference_steps": 20,
            "negative_prompt": "blurry",
            "seed": 7,
            "width": 512,
            "height": 320,
        },
    }
    assert outcome.handles == [
        {"model": ENDPOINT_URL, "backend": "huggingface", "provider": "endpoint", "submitting": True}
    ]


@pytest.mark.parametrize("prompt", [PROMPT, None])
def test_an_image_is_the_input_and_the_prompt_a_parameter(
    caller: Caller, internet: FakeInternet, prompt: str | None
) -> None:
    caller.generate(to_endpoint(task=Task.IMAGE_TO_VIDEO, prompt=prompt)).made()
    sent = internet.requests[0].json()
    assert base64.b64decode(sent["inputs"]) == example_image()
    assert sent["parameters"] == {**({"prompt": prompt} if prompt else {}), "num_frames": 48, "seed": 7}


@pytest.mark.parametrize(
    ("shape", "prefix"),
    [
        (lambda text: {"video": text}, ""),
        (lambda text: [{"generated_video": text}], "data:video/mp4;base64,"),
        (lambda text: text, "data:video/mp4;base64,"),
        (lambda text: {"status": "ok", "seed": 3, "output": {"data": [None, text]}}, ""),
    ],
    ids=["object", "list", "text", "nested"],
)
def test_a_handler_may_wrap_the_video_in_json(caller: Caller, internet: FakeInternet, shape: Any, prefix: str) -> None:
    internet.fail("submit", json=shape(prefix + base64.b64encode(internet.video).decode()), accepted=True)
    assert caller.generate(to_endpoint()).made().path.read_bytes() == internet.video


@pytest.mark.parametrize(
    "reply",
    [
        {"json": {"error": "CUDA out of memory"}},
        {"json": {"video": base64.b64encode(b"not a video").decode()}},
        {"json": {"video": "!!!"}},
        {"content": b'{"video": "unfinished'},
        {"content": b'"' + b"a" * 5000},
        {"html": True},
        {"content": b"plain words"},
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_came_instead_of_a_video_is_quoted(caller: Caller, internet: FakeInternet, reply: dict[str, Any]) -> None:
    internet.fail("submit", status=200, **reply, accepted=True)
    outcome = caller.generate(to_endpoint())
    error = outcome.failed()
    assert isinstance(error, ProcessingError)
    assert str(error).startswith("No video arrived, but ")
    assert outcome.handles[-1] is None
    assert internet.posts == 1


@pytest.mark.parametrize("headers", [{}, {"retry-after": "30"}])
def test_an_endpoint_that_is_starting_may_be_asked_again(
    caller: Caller, internet: FakeInternet, headers: dict[str, str]
) -> None:
    internet.fail("submit", status=503, headers=headers)
    outcome = caller.generate(to_endpoint())
    error = outcome.failed()
    assert type(error) is HuggingFaceAPIError
    assert "is starting" in str(error)
    assert (error.accepted, error.retryable, error.status) == (False, True, 503)
    assert error.retry_after == (30 if headers else None)
    assert outcome.handles[-1] is None


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"status": 400, "json": {"error": "bad parameters"}}, ValidationError),
        ({"status": 401}, AuthenticationError),
        ({"status": 500}, SubmissionUnknownError),
        ({"status": 504}, SubmissionUnknownError),
        ({"kind": "reset", "accepted": True}, SubmissionUnknownError),
        ({"kind": "close", "accepted": True, "after_bytes": 100}, SubmissionUnknownError),
    ],
    ids=str,
)
def test_a_fault_costs_one_request(
    caller: Caller, internet: FakeInternet, fault: dict[str, Any], expected: type[CineletError]
) -> None:
    internet.fail("submit", **fault)
    outcome = caller.generate(to_endpoint())
    assert type(outcome.failed()) is expected
    assert (outcome.handles[-1] is None) == (expected is not SubmissionUnknownError)
    assert internet.posts == 1


def test_a_request_that_was_being_sent_is_never_sent_again(caller: Caller, internet: FakeInternet) -> None:
    handle = {"model": ENDPOINT_URL, "backend": "huggingface", "provider": "endpoint", "submitting": True}
    assert isinstance(caller.generate(to_endpoint(), handle=handle).failed(), SubmissionUnknownError)
    assert internet.requests == ()


def test_a_deadline_ends_the_wait(caller: Caller, internet: FakeInternet) -> None:
    internet.fail("submit", "hang", accepted=True)

    async def late() -> Any:
        work = asyncio.ensure_future(caller.generated(to_endpoint()))
        await internet.until(lambda: internet.paid() == 1)
        caller.clock.advance(3600)
        return await work

    outcome = asyncio.run(late())
    assert isinstance(outcome.failed(), DeadlineExceededError)
    assert outcome.handles[-1]["submitting"] is True


def test_a_video_above_the_limit_is_cut_off(caller: Caller, internet: FakeInternet) -> None:
    caller.settings = {"max_video_bytes": 1_000_000}
    internet.videos_have(1_000_001)
    assert isinstance(caller.generate(to_endpoint()).failed(), FileSizeError)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped = base64.b64encode(b"\x00\x00\x00\x20ftypisom" + bytes(100)).decode()
    path = tmp_path / "video.mp4"
    path.write_text(json.dumps({"video": wrapped}))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ProcessingError, match="No space left on device"):
        endpoint._unwrap(path)
    assert list(tmp_path.iterdir()) == []


def called(
    url: str, *, addresses: dict[str, str] | None = None, **settings: Any
) -> tuple[CineletError | None, list[httpx2.Request]]:
    """Call an endpoint; return the error and what was sent where."""
    sent: list[httpx2.Request] = []
    video = b"\x00\x00\x00\x20ftypisom" + bytes(100)

    async def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, stream=httpx2.ByteStream(video))

    async def resolve(host: str, _port: int) -> list[str]:
        return [(addresses or {}).get(host, PUBLIC)]

    with TemporaryDirectory() as folder:
        caller = Caller(None, Path(folder))  # type: ignore[arg-type]  # the network is another one
        caller.settings = {"transport": httpx2.MockTransport(answer), "resolve": resolve, **settings}
        caller.internet = _NoInternet()  # type: ignore[assignment]
        outcome = caller.generate(to_endpoint(url))
    assert outcome.error is None or isinstance(outcome.error, CineletError), outcome.error
    return outcome.error, sent


class _NoInternet:
    resolve = None

    def transport(self) -> None:
        return None


@pytest.mark.parametrize(
    ("url", "tokens", "expected"),
    [
        ("https://x.us-east-1.aws.endpoints.huggingface.cloud", {}, f"Bearer {HF_TOKEN}"),
        ("https://x.endpoints.huggingface.co/path", {}, f"Bearer {HF_TOKEN}"),
        ("https://endpoints.huggingface.cloud", {}, None),
        ("https://x.endpoints.huggingface.cloud.attacker.example", {}, None),
        ("https://xendpoints.huggingface.cloud", {}, None),
        ("https://x.endpoints.huggingface.cloud:8443", {}, None),
        ("https://mine.example/generate", {}, None),
        ("https://mine.example/generate", {"mine.example": "own"}, "Bearer own"),
        ("https://mine.example:8443/generate", {"mine.example:8443": "own"}, "Bearer own"),
        ("https://mine.example/generate", {"mine.example": ""}, None),
        ("https://x.endpoints.huggingface.cloud", {"x.endpoints.huggingface.cloud": "own"}, "Bearer own"),
        ("http://localhost:8080", {"localhost:8080": "own"}, "Bearer own"),
    ],
    ids=str,
)
def test_a_token_goes_only_where_it_belongs(url: str, tokens: dict[str, str], expected: str | None) -> None:
    error, sent = called(url, endpoint_tokens=tokens)
    assert error is None
    assert [request.headers.get("authorization") for request in sent] == [expected]
    assert sent[0].headers["host"] == httpx2.URL(url).netloc.decode()


def test_the_request_goes_to_the_address_that_was_checked() -> None:
    _, sent = called("https://mine.example/generate?x=1")
    assert (sent[0].url.host, sent[0].url.raw_path) == (PUBLIC, b"/generate?x=1")
    assert sent[0].headers["host"] == "mine.example"
    assert sent[0].extensions["sni_hostname"] == "mine.example"
    assert json.loads(sent[0].content)["inputs"] == PROMPT


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("https://mine.example", {"mine.example": "10.0.0.7"}),
        ("https://mine.example", {"mine.example": "169.254.169.254"}),
        ("https://127.0.0.1", {"127.0.0.1": "127.0.0.1"}),
        ("https://x.endpoints.huggingface.cloud", {"x.endpoints.huggingface.cloud": "::1"}),
        ("http://mine.example", {}),
        ("http://x.endpoints.huggingface.cloud", {}),
    ],
    ids=str,
)
def test_an_endpoint_inside_the_network_is_called_only_if_the_operator_listed_it(
    url: str, addresses: dict[str, str]
) -> None:
    error, sent = called(url, addresses=addresses)
    assert isinstance(error, ValidationError)
    assert sent == []
    error, sent = called(url, addresses=addresses, endpoint_tokens={httpx2.URL(url).host: ""})
    assert error is None
    assert len(sent) == 1


def test_a_token_is_not_sent_by_plain_http() -> None:
    error, sent = called("http://mine.example", endpoint_tokens={"mine.example": "own"})
    assert isinstance(error, ValidationError)
    assert "own" not in str(error)
    assert sent == []


def test_an_address_with_a_signature_is_not_repeated_in_an_error(caller: Caller, internet: FakeInternet) -> None:
    internet.fail("submit", status=400)
    assert "s3cret" not in str(caller.generate(to_endpoint(f"{ENDPOINT_URL}/?signature=s3cret")).failed())


def test_capabilities_of_an_endpoint_need_no_request(caller: Caller, internet: FakeInternet) -> None:
    async def ask() -> tuple[Capabilities, Any]:
        backend, reference = caller.backend(token=None), ModelReference.parse(ENDPOINT_URL)
        return await backend.capabilities(reference), await backend.expand(reference, Task.TEXT_TO_VIDEO)

    found, expanded = asyncio.run(ask())
    assert found.tasks == frozenset(Task)
    assert found.runs_on == ENDPOINT_URL.removeprefix("https://")
    assert {"prompt", "image", "seed", "width"} <= found.parameters
    assert [str(reference) for reference in expanded] == [ENDPOINT_URL]
    assert internet.requests == ()
