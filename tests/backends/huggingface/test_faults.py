"""What goes wrong at each stage, and what it costs: one POST, one payment, and an error that says which it was."""

from __future__ import annotations

import math
from typing import Any

import httpx2
import pytest

from cinelet.domain.errors import (
    AuthenticationError,
    CineletError,
    FileSizeError,
    HuggingFaceAPIError,
    ModelNotFoundError,
    ModelUnsupportedError,
    PaymentRequiredError,
    ProcessingError,
    RateLimitError,
    SubmissionUnknownError,
    ValidationError,
)
from cinelet.transport.client import Timeouts
from tests.backends.huggingface.caller import QUEUES, Caller, video_request
from tests.fake_providers import FakeInternet

ALL = (*QUEUES, "novita")
REFUSALS: list[tuple[dict[str, Any], type[CineletError]]] = [
    ({"status": 400}, ValidationError),
    (
        {"status": 422, "json": {"detail": [{"loc": ["body", "seed"], "msg": "too large", "input": "x"}]}},
        ValidationError,
    ),
    ({"status": 401}, AuthenticationError),
    ({"status": 403}, AuthenticationError),
    ({"status": 402}, PaymentRequiredError),
    ({"status": 404}, ModelNotFoundError),
    ({"status": 410}, ModelUnsupportedError),
    ({"status": 429, "headers": {"retry-after": "7"}}, RateLimitError),
    ({"status": 503, "html": True}, HuggingFaceAPIError),
]
DOUBTS: list[dict[str, Any]] = [
    {"status": 500},
    {"status": 502, "html": True},
    {"status": 504, "html": True},
    {"kind": "reset", "accepted": True},
    {"kind": "close", "accepted": True},
    {"kind": "reset"},
    {"status": 200, "html": True, "accepted": True},
    {"status": 200, "content": b"", "accepted": True},
]


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(("fault", "expected"), REFUSALS, ids=lambda value: str(value)[:20])
def test_a_refused_request_is_not_in_doubt(
    caller: Caller, internet: FakeInternet, provider: str, fault: dict[str, Any], expected: type[CineletError]
) -> None:
    internet.fail("submit", **fault)
    outcome = caller.generate(video_request(provider))
    error = outcome.failed()
    assert type(error) is expected
    assert not getattr(error, "accepted", False)
    assert outcome.handles == [outcome.handles[0], None]
    assert (internet.posts, internet.paid()) == (1, 0)
    if isinstance(error, RateLimitError):
        assert error.retry_after == 7


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("fault", DOUBTS, ids=str)
def test_a_request_of_unknown_outcome_is_sent_once_and_stays_in_doubt(
    caller: Caller, internet: FakeInternet, provider: str, fault: dict[str, Any]
) -> None:
    internet.fail("submit", **fault)
    outcome = caller.generate(video_request(provider))
    assert isinstance(outcome.failed(), SubmissionUnknownError)
    assert outcome.handles[-1] is not None
    assert outcome.handles[-1]["submitting"] is True
    assert internet.posts == 1
    assert internet.paid() <= 1


@pytest.mark.parametrize("provider", QUEUES)
def test_a_submission_that_hangs_is_in_doubt_after_the_read_timeout(
    caller: Caller, internet: FakeInternet, provider: str
) -> None:
    caller.settings = {"timeouts": Timeouts(connect_seconds=1, read_seconds=0.1, write_seconds=1)}
    internet.fail("submit", "hang", accepted=True)
    assert isinstance(caller.generate(video_request(provider)).failed(), SubmissionUnknownError)
    assert internet.paid() == 1


def test_a_host_that_holds_the_request_has_the_whole_time(caller: Caller, internet: FakeInternet) -> None:
    limits: dict[str, Any] = {}

    class Watching(httpx2.AsyncBaseTransport):
        def __init__(self) -> None:
            self.inner = internet.transport()

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            limits[request.method] = request.extensions["timeout"]
            return await self.inner.handle_async_request(request)

        async def aclose(self) -> None:
            await self.inner.aclose()

    caller.settings = {"transport": Watching()}
    caller.generate(video_request("novita")).made()
    assert limits["POST"] == {"connect": 2, "read": None, "write": 2, "pool": 2}
    assert limits["GET"]["read"] == 2


@pytest.mark.parametrize("provider", QUEUES)
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 503, "headers": {"retry-after": "20"}},
        {"status": 429, "headers": {"retry-after": "20"}},
        {"status": 404},
        {"status": 401},
        {"kind": "reset"},
        {"kind": "close"},
        {"html": True},
        {"content": b""},
        {"json": []},
    ],
    ids=str,
)
def test_a_failed_poll_does_not_abandon_the_job(
    caller: Caller, internet: FakeInternet, provider: str, fault: dict[str, Any]
) -> None:
    internet.fail("poll", **fault, times=2)
    video = caller.generate(video_request(provider)).made()
    assert video.path.read_bytes() == internet.video
    assert internet.faults_left == []
    assert internet.posts == internet.paid() == 1
    if "headers" in fault:
        assert caller.clock.pauses_seconds.count(20) == 2


@pytest.mark.parametrize("provider", QUEUES)
@pytest.mark.parametrize(
    ("status", "times", "expected"),
    [(404, 5, HuggingFaceAPIError), (410, 5, HuggingFaceAPIError), (401, 3, AuthenticationError)],
)
def test_a_refusal_of_the_job_that_lasts_ends_it_as_accepted(
    caller: Caller, provider: str, status: int, times: int, expected: type[CineletError]
) -> None:
    internet = caller.internet
    internet.fail("poll", status=status, times=math.inf)
    outcome = caller.generate(video_request(provider))
    error = outcome.failed()
    assert type(error) is expected
    assert isinstance(error, HuggingFaceAPIError)
    assert (error.accepted, error.status) == (True, status)
    assert [request.stage for request in internet.requests].count("poll") == times
    # With another token the job can still be asked about.
    assert outcome.handles[-1] is not None
    assert outcome.handles[-1].get("ended", False) == (status != 401)
    assert internet.posts == 1


def test_a_router_that_does_not_know_a_prediction_leads_to_the_providers_own_key(
    caller: Caller, internet: FakeInternet
) -> None:
    internet.fail("poll", status=404, times=math.inf)
    assert "set REPLICATE_API_TOKEN" in str(caller.generate(video_request("replicate")).failed())


@pytest.mark.parametrize(
    "fault",
    [{"status": 503, "html": True}, {"status": 502}, {"status": 429}, {"kind": "reset"}, {"html": True}],
    ids=str,
)
def test_a_result_that_cannot_be_fetched_is_asked_for_again(
    caller: Caller, internet: FakeInternet, fault: dict[str, Any]
) -> None:
    internet.fail("result", **fault, times=3)
    caller.generate(video_request("fal-ai")).made()
    assert internet.faults_left == []
    assert internet.posts == 1


@pytest.mark.parametrize("status", [400, 422, 500])
def test_an_error_in_place_of_a_result_is_the_jobs(caller: Caller, internet: FakeInternet, status: int) -> None:
    internet.fail("result", status=status, json={"detail": "CUDA out of memory"})
    error = caller.generate(video_request("fal-ai")).failed()
    assert isinstance(error, HuggingFaceAPIError)
    assert "CUDA out of memory" in str(error)
    assert (error.accepted, error.status) == (True, status)
    assert [request.stage for request in internet.requests].count("result") == 1


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 503},
        {"kind": "reset"},
        {"kind": "close", "after_bytes": 100},
        {"kind": "reset", "after_bytes": 100},
    ],
    ids=str,
)
def test_a_download_that_breaks_off_is_taken_up(
    caller: Caller, internet: FakeInternet, provider: str, fault: dict[str, Any]
) -> None:
    internet.fail("download", **fault)
    assert caller.generate(video_request(provider)).made().path.read_bytes() == internet.video
    assert internet.faults_left == []
    assert internet.posts == 1


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    ("fault", "expected", "words"),
    [
        ({"status": 403}, HuggingFaceAPIError, "status 403"),
        ({"status": 404}, HuggingFaceAPIError, "status 404"),
        ({"html": True}, ProcessingError, "an HTML page"),
        ({"content": b""}, ProcessingError, "an empty file"),
        ({"json": {"error": "expired"}}, ProcessingError, "a JSON document"),
        ({"content": b"\x00" * 5000}, ProcessingError, "unknown data"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_no_video_is_never_the_result(
    caller: Caller, provider: str, fault: dict[str, Any], expected: type[CineletError], words: str
) -> None:
    internet = caller.internet
    internet.fail("download", **fault, times=math.inf)
    error = caller.generate(video_request(provider)).failed()
    assert isinstance(error, expected)
    assert words in str(error)
    assert internet.posts == 1


def test_a_video_that_is_too_large_is_refused_by_its_length(caller: Caller, internet: FakeInternet) -> None:
    caller.settings = {"max_video_bytes": 1_000_000}
    internet.videos_have(1_000_001)
    error = caller.generate(video_request("fal-ai")).failed()
    assert isinstance(error, FileSizeError)
    assert (error.size, error.limit) == (1_000_001, 1_000_000)


def test_a_video_on_a_private_address_is_not_fetched(caller: Caller, internet: FakeInternet) -> None:
    internet.wire.addresses["v3.fal.media"] = ["127.0.0.1"]
    assert "inside a network" in str(caller.generate(video_request("fal-ai")).failed())
    assert internet.strays == ()


def test_no_network_is_no_doubt(caller: Caller, internet: FakeInternet) -> None:
    internet.wire.addresses.pop("router.huggingface.co")
    outcome = caller.generate(video_request("fal-ai"))
    error = outcome.failed()
    assert type(error) is HuggingFaceAPIError
    assert not error.accepted
    assert outcome.handles[-1] is None
