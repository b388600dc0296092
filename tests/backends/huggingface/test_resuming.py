"""A job is saved before anything else, taken up by another process, and never sent twice."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest

from cinelet.domain.errors import (
    AuthenticationError,
    DeadlineExceededError,
    HuggingFaceAPIError,
    SubmissionUnknownError,
)
from cinelet.domain.progress import Progress, Stage
from cinelet.domain.request import Task
from tests.backends.huggingface.caller import OFFERS, QUEUES, Caller, video_request
from tests.fake_providers import HF_TOKEN, KEYS, FakeInternet

ADDRESSES = ("status_url", "result_url", "cancel_url")
API_HOSTS = {
    "fal-ai": "queue.fal.run",
    "wavespeed": "api.wavespeed.ai",
    "together": "api.together.xyz",
    "replicate": "api.replicate.com",
}
ELSEWHERE = (
    "https://attacker.example/requests/1",
    "http://{}/requests/1",
    "https://{}:8443/requests/1",
    "https://user@{}/requests/1",
    "https://user:password@{}/requests/1",
    "https://{}.attacker.example/x",
    "https://{}@attacker.example/x",
    "https://{}\\@attacker.example/x",
    "https://attacker.example/{}",
    "https://attacker.example?{}",
    "https://attacker.example#{}",
    "https://{}/a/%2e%2e/%2e%2e/x",
    "https://{}/a/../../x",
    "https://{}./x",
    "https://router.huggingface.co/hf-inference/x",
    "https://router.huggingface.co/x",
    "https://huggingface.co/api/whoami-v2",
    "https://api.novita.ai/v3/x",
    "https://151.101.1.3/x",
    "file:///etc/passwd",
    "//{}/x",
    "{}/x",
    "https://",
    "",
    "\n",
)
"""Where a handle may be made to lead; {} is the provider's own host."""


def handle_of(caller: Caller, internet: FakeInternet, provider: str, task: Task = Task.TEXT_TO_VIDEO) -> dict[str, Any]:
    """Return the handle of a job that is running."""
    outcome = caller.generate(video_request(provider, task))
    saved = [handle for handle in outcome.handles if handle is not None and not handle.get("submitting")]
    assert len(saved) == 1
    if provider in QUEUES:
        internet.jobs[-1].polls = 0
    return saved[0]


@pytest.mark.parametrize(("provider", "task"), OFFERS)
def test_the_handle_is_saved_before_the_first_question(
    caller: Caller, internet: FakeInternet, provider: str, task: Task
) -> None:
    order: list[str] = []
    internet.on_request(lambda received: order.append(received.stage))

    def saved(_context: object, handle: Any) -> None:
        order.append("submitting" if handle.get("submitting") else "accepted")

    caller.generate(video_request(provider, task), on_handle=saved).made()
    assert order[:4] == ["mapping", "submitting", "submit", "accepted"]
    assert order[4] == ("poll" if provider in QUEUES else "download")


@pytest.mark.parametrize(("provider", "task"), OFFERS)
def test_a_handle_is_json_without_a_secret_or_a_prompt(caller: Caller, provider: str, task: Task) -> None:
    request = video_request(provider, task)
    before = time.time()
    handles = caller.generate(request).handles
    shown = json.dumps(handles)
    assert handles[0] == {"model": request.model, "backend": "huggingface", "provider": provider, "submitting": True}
    assert handles[1] is not None
    assert (handles[1]["model"], handles[1]["backend"], handles[1]["provider"]) == (
        request.model,
        "huggingface",
        provider,
    )
    assert before - 1 <= handles[1]["accepted_at"] <= time.time() + 1
    assert all(secret not in shown for secret in (HF_TOKEN, str(request.prompt), KEYS[provider]))


@pytest.mark.parametrize("way", ["router", "key"])
@pytest.mark.parametrize("provider", [*QUEUES, "novita"])
def test_a_new_process_takes_up_a_job_without_sending_anything(
    caller: Caller, internet: FakeInternet, provider: str, way: str
) -> None:
    caller.settings = {} if way == "router" else {"token": None, "provider_keys": {provider: KEYS[provider]}}
    handle = json.loads(json.dumps(handle_of(caller, internet, provider)))
    mappings = [request.stage for request in internet.requests].count("mapping")
    video = caller.generate(video_request(provider), handle=handle).made()
    assert video.path.read_bytes() == internet.video
    assert video.provider == provider
    assert internet.posts == internet.paid() == 1
    assert [request.stage for request in internet.requests].count("mapping") == mappings


def test_the_seed_of_a_job_that_is_taken_up_is_the_one_it_was_sent_with(caller: Caller, internet: FakeInternet) -> None:
    handle = handle_of(caller, internet, "fal-ai")
    (job,) = internet.jobs
    caller.settings = {"random": lambda: 0.25}
    video = caller.generate(video_request("fal-ai"), handle=handle).made()
    assert video.seed == handle["seed"] == job.payload["seed"] == 2**30


def test_what_was_changed_is_told_again_when_a_job_is_taken_up(caller: Caller) -> None:
    request = video_request("fal-ai", guidance_scale=99, num_inference_steps=77)
    first = caller.generate(request)
    handle = first.handles[1]
    again = caller.generate(request, handle=handle)
    assert again.made().adjustments == first.made().adjustments
    assert again.made().applied == first.made().applied


def test_a_job_is_taken_up_while_the_hub_is_down(caller: Caller, internet: FakeInternet) -> None:
    handle = handle_of(caller, internet, "fal-ai")
    internet.fail("mapping", status=500, times=math.inf)
    caller.generate(video_request("fal-ai"), handle=handle).made()


@pytest.mark.parametrize("provider", [*QUEUES, "novita"])
def test_a_request_that_was_being_sent_is_never_sent_again(
    caller: Caller, internet: FakeInternet, provider: str
) -> None:
    request = video_request(provider)
    handle = {"model": request.model, "backend": "huggingface", "provider": provider, "submitting": True}
    outcome = caller.generate(request, handle=handle)
    assert isinstance(outcome.failed(), SubmissionUnknownError)
    assert internet.requests == ()
    assert outcome.handles == []


@pytest.mark.parametrize("change", [{"backend": "openai_videos"}, {"model": "hf:org/other:fal-ai"}])
def test_a_handle_of_another_backend_or_model_is_none_of_ours(
    caller: Caller, internet: FakeInternet, change: dict[str, Any]
) -> None:
    handle = {**handle_of(caller, internet, "fal-ai"), **change}
    caller.generate(video_request("fal-ai"), handle=handle).made()
    assert internet.posts == 2


def test_a_job_that_was_routed_is_asked_about_through_the_router_even_if_there_is_a_key(
    caller: Caller, internet: FakeInternet
) -> None:
    handle = handle_of(caller, internet, "fal-ai")
    caller.settings = {"provider_keys": dict(KEYS)}
    caller.generate(video_request("fal-ai"), handle=handle).made()
    asked = [request for request in internet.requests if request.stage in {"poll", "result"}]
    assert {request.host for request in asked} == {"router.huggingface.co"}


def test_a_job_whose_credential_is_gone_says_which_one(caller: Caller, internet: FakeInternet) -> None:
    caller.settings = {"provider_keys": {"fal-ai": KEYS["fal-ai"]}}
    handle = handle_of(caller, internet, "fal-ai")
    caller.settings = {}
    outcome = caller.generate(video_request("fal-ai"), handle=handle)
    error = outcome.failed()
    assert isinstance(error, AuthenticationError)
    assert "FAL_KEY" in str(error)
    assert outcome.handles == []
    assert internet.posts == 1


@pytest.mark.parametrize("routed", [True, False])
@pytest.mark.parametrize("provider", QUEUES)
def test_a_handle_that_was_tampered_with_gets_no_credential_anywhere(
    caller: Caller, internet: FakeInternet, provider: str, routed: bool
) -> None:
    caller.settings = {"provider_keys": {} if routed else dict(KEYS)}
    request = video_request(provider)
    handle = {
        "model": request.model,
        "backend": "huggingface",
        "provider": provider,
        "provider_model": "x",
        "routed": routed,
        "id": "1",
        "seed": 1,
        "status_url": f"https://{API_HOSTS[provider]}/x",
    }
    for address in ADDRESSES:
        for elsewhere in ELSEWHERE:
            outcome = caller.generate(request, handle={**handle, address: elsewhere.format(API_HOSTS[provider])})
            assert isinstance(outcome.failed(), SubmissionUnknownError), (address, elsewhere)
            assert outcome.handles == []
    assert internet.requests == ()
    assert internet.strays == ()


@pytest.mark.parametrize(
    "damage",
    [
        {"provider": "nobody"},
        {"provider": None},
        {"routed": "yes"},
        {"id": 7},
        {"provider_model": None},
        {"seed": "1"},
        {"status_url": 7},
        {"status_url": None},
        {"video_url": ["https://v3.fal.media/x"]},
    ],
)
def test_a_damaged_handle_sends_nothing(caller: Caller, internet: FakeInternet, damage: dict[str, Any]) -> None:
    handle = {**handle_of(caller, internet, "fal-ai"), **damage}
    seen = len(internet.requests)
    outcome = caller.generate(video_request("fal-ai"), handle=handle)
    assert isinstance(outcome.failed(), SubmissionUnknownError)
    assert len(internet.requests) == seen


def test_a_video_address_in_a_handle_gets_no_credential_and_no_private_host(
    caller: Caller, internet: FakeInternet
) -> None:
    handle = handle_of(caller, internet, "novita")
    for address in ("https://127.0.0.1/video.mp4", "http://faas-output-video.s3.ap-southeast-1.amazonaws.com/x"):
        outcome = caller.generate(video_request("novita"), handle={**handle, "video_url": address})
        assert "address" in str(outcome.failed()) or "https" in str(outcome.failed())
    assert internet.strays == ()


def test_a_download_that_failed_is_tried_again_from_the_same_job(caller: Caller, internet: FakeInternet) -> None:
    internet.fail("download", status=403, times=1)
    first = caller.generate(video_request("fal-ai"))
    assert isinstance(first.failed(), HuggingFaceAPIError)
    assert first.handles[-1] is not None
    caller.generate(video_request("fal-ai"), handle=first.handles[-1]).made()
    assert internet.posts == internet.paid() == 1


def test_a_deadline_during_the_download_leaves_the_job_to_be_taken_up(caller: Caller, internet: FakeInternet) -> None:
    def time_is_over(_context: object, report: Progress) -> None:
        if report.stage is Stage.DOWNLOADING:
            caller.clock.advance(3600)

    first = caller.generate(video_request("fal-ai"), on_progress=time_is_over)
    assert isinstance(first.failed(), DeadlineExceededError)
    assert internet.cancelled == 0
    caller.generate(video_request("fal-ai"), handle=first.handles[-1]).made()
    assert internet.posts == 1
