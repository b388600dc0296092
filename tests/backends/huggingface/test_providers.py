"""Each provider, each task, through the router and with its own key: what is sent where, and what comes back."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from cinelet.domain.errors import HuggingFaceAPIError, SubmissionUnknownError, ValidationError
from cinelet.domain.progress import Stage
from cinelet.domain.request import Task
from cinelet.media.probe import probe
from cinelet.testing import example_image
from tests.backends.huggingface.caller import OFFERS, PROMPT, QUEUES, Caller, video_request
from tests.fake_providers import HF_TOKEN, KEYS, FakeInternet

WAYS = ("router", "key")
# The fake numbers its jobs; the first is this one.
JOB = "job-00000001"
ASKED: dict[str, list[str]] = {
    "fal-ai": [
        f"GET /fal-ai/wan/requests/{JOB}/status",
        f"GET /fal-ai/wan/requests/{JOB}/status",
        f"GET /fal-ai/wan/requests/{JOB}/status",
        f"GET /fal-ai/wan/requests/{JOB}",
    ],
    "wavespeed": [f"GET /api/v3/predictions/{JOB}/result"] * 3,
    "together": [f"GET /v2/videos/{JOB}"] * 3,
    "replicate": [f"GET /v1/predictions/{JOB}"] * 3,
    "novita": [],
}
SUBMITTED: dict[tuple[str, Task], str] = {
    ("fal-ai", Task.TEXT_TO_VIDEO): "POST /fal-ai/wan/v2.2-a14b/text-to-video",
    ("fal-ai", Task.IMAGE_TO_VIDEO): "POST /fal-ai/wan/v2.2-a14b/image-to-video",
    ("wavespeed", Task.TEXT_TO_VIDEO): "POST /api/v3/wavespeed-ai/wan-2.2/t2v-480p",
    ("wavespeed", Task.IMAGE_TO_VIDEO): "POST /api/v3/wavespeed-ai/wan-2.2/i2v-480p",
    ("together", Task.TEXT_TO_VIDEO): "POST /v2/videos",
    ("together", Task.IMAGE_TO_VIDEO): "POST /v2/videos",
    ("replicate", Task.TEXT_TO_VIDEO): "POST /v1/models/wan-video/wan-2.2-t2v-fast/predictions",
    ("novita", Task.TEXT_TO_VIDEO): "POST /v3/hf/wan-2.2-t2v",
}
PICTURE = "data:image/png;base64," + base64.b64encode(example_image()).decode()
_FAL = {
    "prompt": PROMPT,
    "num_frames": 81,
    "frames_per_second": 16,
    "num_inference_steps": 30,
    "guidance_scale": 4.5,
    "seed": 7,
    "negative_prompt": "blurry",
}
_WAVESPEED = {
    "prompt": PROMPT,
    "duration": 5,
    "num_inference_steps": 30,
    "guidance_scale": 4.5,
    "seed": 7,
    "negative_prompt": "blurry",
}
_TOGETHER = {
    "prompt": PROMPT,
    "seconds": "5",
    "fps": 16,
    "steps": 30,
    "guidance_scale": 4.5,
    "seed": 7,
    "negative_prompt": "blurry",
}
PAYLOADS: dict[tuple[str, Task], Any] = {
    ("fal-ai", Task.TEXT_TO_VIDEO): _FAL,
    ("fal-ai", Task.IMAGE_TO_VIDEO): {**_FAL, "image_url": PICTURE},
    ("wavespeed", Task.TEXT_TO_VIDEO): _WAVESPEED,
    ("wavespeed", Task.IMAGE_TO_VIDEO): {**_WAVESPEED, "image": PICTURE},
    ("together", Task.TEXT_TO_VIDEO): {**_TOGETHER, "model": "Wan-AI/Wan2.2-T2V-A14B"},
    ("together", Task.IMAGE_TO_VIDEO): {
        **_TOGETHER,
        "model": "Wan-AI/Wan2.2-I2V-A14B",
        "frame_images": [{"input_image": PICTURE, "frame": "first"}],
    },
    ("replicate", Task.TEXT_TO_VIDEO): {
        "input": {"prompt": PROMPT, "num_frames": 81, "frames_per_second": 16, "seed": 7},
    },
    ("novita", Task.TEXT_TO_VIDEO): {
        "prompt": PROMPT,
        "num_frames": 80,
        "num_inference_steps": 30,
        "guidance_scale": 4.5,
        "seed": 7,
        "negative_prompt": "blurry",
    },
}
FIELDS = {
    "duration": 5,
    "fps": 16,
    "num_inference_steps": 30,
    "guidance_scale": 4.5,
    "seed": 7,
    "negative_prompt": "blurry",
}


def by(way: str, provider: str) -> dict[str, Any]:
    return {"token": HF_TOKEN} if way == "router" else {"token": None, "provider_keys": {provider: KEYS[provider]}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("provider", "task"), OFFERS)
def test_a_video_is_made_by_exactly_these_requests(
    caller: Caller, internet: FakeInternet, provider: str, task: Task, way: str
) -> None:
    caller.settings = by(way, provider)
    video = caller.generate(video_request(provider, task, **FIELDS)).made()
    assert video.path.read_bytes() == internet.video
    assert video.path.suffix == ".mp4"
    assert probe(video.path).frames == 8
    assert (video.provider, video.model) == (provider, f"{video_request(provider, task).model}")
    assert video.request_id
    prefix = f"/{provider}" if way == "router" else ""
    host = "router.huggingface.co" if way == "router" else None
    ours = [request for request in internet.requests if request.stage in {"submit", "poll", "result"}]
    shown = [f"{request.method} {request.path}" for request in ours]
    expected = [SUBMITTED[provider, task], *ASKED[provider]]
    assert shown == [line.replace(" /", f" {prefix}/", 1) for line in expected]
    scheme = "Key" if (way, provider) == ("key", "fal-ai") else "Bearer"
    secret = HF_TOKEN if way == "router" else KEYS[provider]
    assert {request.authorization for request in ours} == {f"{scheme} {secret}"}
    assert {request.host for request in ours} == ({host} if host else {ours[0].host})
    query = "_subdomain=queue" if (way, provider) == ("router", "fal-ai") else ""
    assert {request.query for request in ours} == {query}
    assert ours[0].json() == PAYLOADS[provider, task]
    assert "prefer" not in ours[0].headers
    assert internet.posts == internet.paid() == 1
    downloads = [request for request in internet.requests if request.stage == "download"]
    assert [request.authorization for request in downloads] == [""]
    assert internet.strays == ()


@pytest.mark.parametrize("provider", QUEUES)
def test_the_organisation_that_pays_is_named_to_the_router_only(
    caller: Caller, internet: FakeInternet, provider: str
) -> None:
    caller.settings = {"bill_to": "my-org"}
    caller.generate(video_request(provider)).made()
    caller.settings = {"bill_to": "my-org", "provider_keys": {provider: KEYS[provider]}}
    caller.generate(video_request(provider)).made()
    billed = {request.host for request in internet.requests if request.headers.get("x-hf-bill-to") == "my-org"}
    assert billed == {"router.huggingface.co"}
    routed = [request for request in internet.requests if request.host == "router.huggingface.co"]
    assert all(request.headers["x-hf-bill-to"] == "my-org" for request in routed)


@pytest.mark.parametrize("provider", QUEUES)
@pytest.mark.parametrize("way", WAYS)
def test_a_failed_job_tells_the_hosts_words_and_is_over(
    caller: Caller, internet: FakeInternet, provider: str, way: str
) -> None:
    internet.jobs_fail("The safety checker found something")
    caller.settings = by(way, provider)
    outcome = caller.generate(video_request(provider))
    error = outcome.failed()
    assert type(error) is HuggingFaceAPIError
    assert "The safety checker found something" in str(error)
    assert (error.accepted, error.provider, error.request_id) == (True, provider, JOB)
    assert outcome.handles[-1] is not None
    assert outcome.handles[-1]["ended"] is True
    assert internet.posts == 1


def test_a_job_that_fals_platform_gave_up_is_a_failed_one(caller: Caller, internet: FakeInternet) -> None:
    internet.jobs_fail("Runner disconnected", status=503)
    error = caller.generate(video_request("fal-ai")).failed()
    assert isinstance(error, HuggingFaceAPIError)
    assert "Runner disconnected" in str(error)
    assert (error.accepted, error.status) == (True, 503)
    assert [request.stage for request in internet.requests].count("result") == 1


def test_a_job_that_fal_completes_with_an_error_has_failed(caller: Caller, internet: FakeInternet) -> None:
    internet.fail("poll", status=200, json={"status": "COMPLETED", "error": "Out of memory", "error_type": "x"})
    assert "Out of memory" in str(caller.generate(video_request("fal-ai")).failed())
    assert "result" not in [request.stage for request in internet.requests]


def test_a_prompt_in_a_hosts_words_is_not_repeated(caller: Caller, internet: FakeInternet) -> None:
    internet.jobs_fail(f"The prompt {PROMPT!r} is not allowed")
    assert "is not allowed" in str(caller.generate(video_request("fal-ai")).failed())


@pytest.mark.parametrize("provider", QUEUES)
def test_a_status_that_nobody_knows_does_not_end_a_job(caller: Caller, internet: FakeInternet, provider: str) -> None:
    internet.fail("poll", status=200, json={"status": "MEDITATING", "data": {"status": "MEDITATING"}}, times=3)
    caller.generate(video_request(provider)).made()
    assert internet.faults_left == []


@pytest.mark.parametrize("provider", QUEUES)
def test_a_job_that_is_done_without_a_video_has_failed(caller: Caller, internet: FakeInternet, provider: str) -> None:
    done = {"status": "completed", "data": {"status": "completed"}}
    internet.fail("poll", status=200, json=done)
    internet.fail("result", status=200, json={"images": []})
    error = caller.generate(video_request(provider)).failed()
    assert "names no video" in str(error)


def test_the_queue_position_is_told(caller: Caller, internet: FakeInternet) -> None:
    outcome = caller.generate(video_request("fal-ai"))
    notes = [progress.note for progress in outcome.progress if progress.stage is Stage.QUEUED]
    assert notes == ["asking fal-ai", "in the queue of fal-ai, 1 ahead"]
    internet.jobs_take(queued_polls=1, running_polls=0)
    outcome = caller.generate(video_request("wavespeed"))
    assert "in the queue of wavespeed" in [progress.note for progress in outcome.progress]


@pytest.mark.parametrize("provider", [*QUEUES, "novita"])
def test_progress_grows_through_queue_work_and_download(caller: Caller, internet: FakeInternet, provider: str) -> None:
    internet.jobs_take(queued_polls=2, running_polls=4)
    progress = caller.generate(video_request(provider)).progress
    stages = list(dict.fromkeys(report.stage for report in progress))
    assert stages == [Stage.QUEUED, Stage.DENOISING, Stage.DOWNLOADING]
    fractions = [report.fraction for report in progress]
    assert fractions == sorted(fractions)
    assert 0.0 == fractions[0] < fractions[-1] <= 1.0
    working = [report for report in progress if report.stage is Stage.DENOISING]
    assert all(0.05 <= report.fraction < 0.9 and not report.measured for report in working)
    assert (progress[-1].step, progress[-1].steps) == (len(internet.video), len(internet.video))
    assert progress[-1].measured


def test_the_steps_in_replicates_log_are_progress(caller: Caller, internet: FakeInternet) -> None:
    logs = "Using seed: 7\r  0%|          | 0/30 [00:00<?, ?it/s]\r 40%|####      | 12/30 [00:08<00:12,  1.4it/s]"
    internet.fail("poll", status=200, json={"status": "processing", "logs": logs})
    progress = caller.generate(video_request("replicate")).progress
    assert next((report.step, report.steps) for report in progress if report.measured) == (12, 30)


def test_a_quick_prediction_needs_no_question(caller: Caller, internet: FakeInternet) -> None:
    url = f"https://replicate.delivery/xezq/{JOB}/output.mp4"

    def at_once(_received: object) -> None:
        for job in internet.jobs:
            job.finish()

    internet.on_request(at_once)
    internet.fail("submit", status=201, json={"id": JOB, "status": "succeeded", "output": [url]}, accepted=True)
    caller.generate(video_request("replicate")).made()
    assert [request.stage for request in internet.requests] == ["mapping", "submit", "download"]


@pytest.mark.parametrize(
    ("provider", "reply"),
    [
        ("fal-ai", {"request_id": "x"}),
        ("fal-ai", {"response_url": "https://queue.fal.run/a/b/requests/x"}),
        ("wavespeed", {"data": {"id": "x"}}),
        ("together", {"id": "../../models"}),
        ("together", {"status": "queued"}),
        ("replicate", {"id": "x", "status": "starting"}),
        ("novita", {"video": {}}),
        ("fal-ai", []),
    ],
)
def test_an_acceptance_that_names_no_job_is_an_unknown_submission(
    caller: Caller, internet: FakeInternet, provider: str, reply: Any
) -> None:
    internet.fail("submit", status=200, json=reply, accepted=True)
    outcome = caller.generate(video_request(provider))
    assert isinstance(outcome.failed(), SubmissionUnknownError)
    assert outcome.handles[-1] == {
        "model": video_request(provider).model,
        "backend": "huggingface",
        "provider": provider,
        "submitting": True,
    }
    assert internet.posts == internet.paid() == 1


@pytest.mark.parametrize("provider", ["fal-ai", "wavespeed", "replicate"])
def test_an_acceptance_that_leads_elsewhere_gets_no_credential(
    caller: Caller, internet: FakeInternet, provider: str
) -> None:
    strange = "https://attacker.example/requests/1"
    reply = {
        "request_id": "1",
        "id": "1",
        "response_url": strange,
        "data": {"urls": {"get": strange}},
        "urls": {"get": strange},
    }
    internet.fail("submit", status=200, json=reply)
    assert "attacker.example" in str(caller.generate(video_request(provider)).failed())
    assert internet.strays == ()


def test_together_gets_a_picture_that_is_small_enough(caller: Caller, internet: FakeInternet) -> None:
    large = noise_picture()
    video = caller.generate(video_request("together", Task.IMAGE_TO_VIDEO, image=large)).made()
    (sent,) = internet.jobs
    picture = sent.payload["frame_images"][0]["input_image"]
    assert picture.startswith("data:image/jpeg;base64,")
    assert len(picture) <= 60_000
    (change,) = [change for change in video.adjustments if change.parameter == "image"]
    assert change.requested == f"{len(large):,} bytes"


def test_what_is_no_picture_is_refused_before_anything_is_sent(caller: Caller, internet: FakeInternet) -> None:
    error = caller.generate(video_request("fal-ai", Task.IMAGE_TO_VIDEO, image=b"<html>no</html>")).failed()
    assert isinstance(error, ValidationError)
    assert "an HTML page" in str(error)
    assert internet.posts == 0


def noise_picture() -> bytes:
    from io import BytesIO

    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 255, (600, 800, 3), dtype=np.uint8)
    written = BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()
