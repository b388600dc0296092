"""OpenAI's own client, as it is, against the service; and what its wire does that the client never shows."""
# mypy: disable-error-code="deprecated"

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from cinelet.domain.errors import (
    AuthenticationError,
    CineletError,
    ModelNotFoundError,
    ModelUnsupportedError,
    ProcessingError,
    RateLimitError,
    ValidationError,
)
from cinelet.media.probe import probe
from cinelet.testing import FakeBackend, example_image
from tests.api.served import Served

# The client says of every method that OpenAI's own service has ended; the shape lives on.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
SIZE: dict[str, Any] = {"size": "64x48"}
SHORT: dict[str, Any] = {"seconds": "1", "extra_body": {"fps": 4}}


@pytest.fixture(scope="module")
def openai_client(served: Served):
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
        yield client


def test_create_and_poll_ends_with_a_video_whose_facts_are_measured(
    openai_client: openai.OpenAI, tmp_path: Path
) -> None:
    video = openai_client.videos.create_and_poll(prompt="a gull", model="embedded", **SIZE, **SHORT)
    assert (video.status, video.progress, video.model) == ("completed", 100, "embedded")
    openai_client.videos.download_content(video.id).write_to_file(tmp_path / "video.mp4")
    facts = probe(tmp_path / "video.mp4")
    assert video.size == facts.resolution
    assert float(video.seconds) == facts.duration
    assert facts.frames == 4


def test_an_image_is_sent_as_the_client_sends_it(openai_client: openai.OpenAI, backend: FakeBackend) -> None:
    image = example_image(height=32)
    video = openai_client.videos.create_and_poll(prompt="it moves", input_reference=image, **SHORT)
    assert video.status == "completed"
    assert backend.requests[-1].image == image


def test_videos_are_listed_over_pages_in_both_orders(openai_client: openai.OpenAI) -> None:
    made = [openai_client.videos.create(prompt=f"listed {n}", **SHORT).id for n in range(3)]
    newest = [video.id for video in openai_client.videos.list(limit=2)]
    assert newest[:3] == made[::-1]
    oldest = [video.id for video in openai_client.videos.list(limit=2, order="asc")]
    assert oldest == newest[::-1]


def test_a_deleted_video_is_not_found(openai_client: openai.OpenAI) -> None:
    video = openai_client.videos.create(prompt="soon gone", **SHORT)
    assert openai_client.videos.delete(video.id).deleted
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.videos.retrieve(video.id)
    assert caught.value.code == "generation_not_found"


def test_a_remix_says_what_it_varies(openai_client: openai.OpenAI) -> None:
    video = openai_client.videos.create(prompt="a gull", **SHORT)
    remix = openai_client.videos.remix(video.id, prompt="two gulls")
    assert (remix.prompt, remix.remixed_from_video_id) == ("two gulls", video.id)
    assert openai_client.videos.poll(remix.id).status == "completed"


def test_a_failed_video_is_a_good_answer_with_its_reason(openai_client: openai.OpenAI) -> None:
    video = openai_client.videos.create_and_poll(
        prompt="a gull", model="embedded", extra_body={"fps": 4, "codec": "vp9"}
    )
    assert video.status == "completed"
    cancelled = openai_client.videos.create(prompt="never", **SHORT)
    openai_client._client.post(str(openai_client.base_url).rstrip("/") + f"/generations/{cancelled.id}/cancel")
    seen = openai_client.videos.poll(cancelled.id)
    if seen.status == "failed":  # it was cancelled before it was made
        assert seen.error is not None
        assert seen.error.code == "cancelled"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x", "size": "big"}, "size"),
        ({"prompt": "x", "seconds": "long"}, "seconds"),
        ({"prompt": "x", "n": "2"}, "n"),
        ({"prompt": "x", "fps": "7.5"}, "fps"),
        ({"prompt": "x", "size": "64x48", "width": "32", "height": "48"}, "width"),
        ({"prompt": "x", "output_path": "/etc/passwd"}, "output_path"),
        ({"prompt": "x", "image_reference": '{"file_id": "f"}'}, "image_reference"),
    ],
)
def test_a_wrong_field_is_an_error_that_the_client_reads(
    openai_client: openai.OpenAI, fields: dict[str, str], param: str
) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        openai_client.post("/videos", cast_to=object, body=fields)
    assert (caught.value.code, caught.value.param) == ("invalid_request", param)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"seed": [1, 2]}, "seed"),
        ({"seed": 1, "seed[]": 2}, "seed"),
        ({"webhook_url": 5}, "webhook_url"),
        ({"input_reference": "https://a.example/", "reference_url": "https://b.example/"}, "reference_url"),
        ({"input_reference": "http://a.example/"}, "input_reference"),
        ({"input_reference": "https://127.0.0.1/"}, "input_reference"),
    ],
)
def test_nothing_that_is_sent_is_dropped_in_silence(client: httpx2.Client, body: dict[str, object], param: str) -> None:
    reply = client.post("/v1/videos", json={"prompt": "x", **body})
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, param), reply.text
    assert "video is fetched" not in reply.text


def test_a_field_of_a_form_that_is_sent_twice_is_refused(client: httpx2.Client) -> None:
    reply = client.post("/v1/videos", data={"prompt": ["a", "b"]})
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, "prompt")


def test_the_fields_of_other_engines_are_taken_and_those_without_effect_named(client: httpx2.Client) -> None:
    fields = {
        "prompt": "a gull", "num_frames": "8", "fps": "8.0", "width": "64", "height": "48", "num_inference_steps": "3",
        "guidance_scale": "2.5", "negative_prompt": "blur", "seed": "7", "flow_shift": "3", "lora[path]": "org/x",
    }  # fmt: skip
    reply = client.post("/v1/videos", data=fields)
    assert reply.status_code == 200, reply.text
    video = reply.json()
    assert (video["seconds"], video["size"], video["ignored"]) == ("1", "64x48", ["flow_shift"])
    asked = client.get(f"/v1/generations/{video['id']}").json()["request"]
    assert (asked["seed"], asked["guidance_scale"], asked["num_inference_steps"]) == (7, 2.5, 3)
    assert asked["lora"] == [{"path": "org/x"}]


@pytest.mark.parametrize(("quality", "asked", "ignored"), [("exact", "exact", []), ("hd", None, ["quality"])])
def test_a_quality_of_ours_counts_and_that_of_another_engine_is_named(
    client: httpx2.Client, quality: str, asked: str | None, ignored: list[str]
) -> None:
    body = {"prompt": "a gull", "quality": quality}
    for reply in (client.post("/v1/videos", data=body), client.post("/v1/videos", json=body)):
        video = reply.json()
        assert video.get("ignored", []) == ignored
        assert client.get(f"/v1/generations/{video['id']}").json()["request"].get("quality") == asked


def test_what_the_client_sends_again_by_itself_makes_no_second_video(client: httpx2.Client) -> None:
    fields = {"prompt": "sent again", "seconds": "1"}
    first, second, third = (
        client.post("/v1/videos", data=fields, headers={"x-stainless-retry-count": count}).json()["id"]
        for count in ("0", "1", "0")
    )
    assert first == second != third


def test_a_request_that_waits_gets_the_file(client: httpx2.Client, tmp_path: Path) -> None:
    reply = client.post("/v1/videos/sync", data={"prompt": "a gull", "seconds": "1", "fps": "4"})
    (tmp_path / "video.mp4").write_bytes(reply.content)
    assert probe(tmp_path / "video.mp4").frames == 4
    assert float(reply.headers["x-inference-time-s"]) >= 0
    assert reply.headers["x-model"] == "embedded"


def test_a_request_that_waits_and_is_sent_again_makes_no_second_video(client: httpx2.Client) -> None:
    def made_by(**headers: str) -> str:
        fields = {"prompt": "sent again and waited for", "seconds": "1"}
        reply = client.post(
            "/v1/videos/sync", data=fields, headers={name.replace("_", "-"): headers[name] for name in headers}
        )
        return reply.headers["x-cinelet-generation"]

    assert made_by(idempotency_key="sync") == made_by(idempotency_key="sync")
    assert made_by() == made_by(x_stainless_retry_count="1")


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ValidationError("fps: too many", {"fps": "Too many"}), 422, "invalid_request_error"),
        (ModelUnsupportedError("The model makes no videos here", "embedded"), 422, "invalid_request_error"),
        (ModelNotFoundError("There is no such model"), 404, "invalid_request_error"),
        (AuthenticationError("The host takes no such token"), 502, "server_error"),
        (RateLimitError("The host is asked too much", retry_after=7), 503, "server_error"),
        (ProcessingError("The video cannot be read", "encoding"), 500, "server_error"),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_who_waits_for_what_fails_is_told_the_status_that_its_error_has_elsewhere(
    client: httpx2.Client, backend: FakeBackend, error: CineletError, status: int, kind: str
) -> None:
    backend.error = error
    try:
        reply = client.post("/v1/videos/sync", json={"prompt": "it fails", "seconds": "1", "fps": "4"})
    finally:
        backend.error = None
    told = reply.json()["error"]
    assert (reply.status_code, told["code"], told["type"]) == (status, error.code, kind)
    assert (told["message"], reply.headers.get("retry-after")) == (error.message, "7" if status == 503 else None)


def test_who_waits_for_what_is_cancelled_is_told_so(client: httpx2.Client, backend: FakeBackend) -> None:
    def cancel() -> None:
        while not (waiting := client.get("/v1/generations", params={"text": "never to be"}).json()["data"]):
            pass
        client.post(f"/v1/generations/{waiting[0]['id']}/cancel")

    backend.step_seconds, before = 0.5, backend.step_seconds
    try:
        with ThreadPoolExecutor() as threads:
            cancelling = threads.submit(cancel)
            reply = client.post("/v1/videos/sync", json={"prompt": "never to be", "seconds": "1"})
            cancelling.result(20)
    finally:
        backend.step_seconds = before
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "cancelled")
    assert reply.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("way", ["edits", "extensions", "characters"])
def test_what_no_model_does_is_said(client: httpx2.Client, way: str) -> None:
    reply = client.post(f"/v1/videos/{way}", data={"prompt": "x"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (501, "not_offered")


def test_the_client_is_told_when_to_ask_again(client: httpx2.Client) -> None:
    video = client.post("/v1/videos", data={"prompt": "x", "seconds": "1"}).json()
    where = f"/v1/videos/{video['id']}"
    assert client.get(where, headers={"x-stainless-poll-helper": "true"}).headers["openai-poll-after-ms"] == "500"
    assert "openai-poll-after-ms" not in client.get(where).headers
