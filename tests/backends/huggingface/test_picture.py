"""The picture as a host takes it, and the JSON around it."""

from __future__ import annotations

import asyncio
import base64
import json
from io import BytesIO
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cinelet.backends.huggingface.body import Body, json_body, json_body_with_picture, new_placeholder
from cinelet.backends.huggingface.picture import Picture, picture_of
from cinelet.domain.errors import ValidationError
from cinelet.domain.request import Task, VideoRequest
from tests.backends.huggingface.caller import Caller, video_request
from tests.fake_providers import FakeInternet


def encoded(kind: str = "PNG", size: tuple[int, int] = (120, 80), colour: str = "teal") -> bytes:
    written = BytesIO()
    Image.new("RGB", size, colour).save(written, kind)
    return written.getvalue()


def with_image(image: bytes, **fields: Any) -> VideoRequest:
    return VideoRequest(task=Task.IMAGE_TO_VIDEO, image=image, **fields)


def size_of(picture: Picture) -> tuple[int, int]:
    return Image.open(BytesIO(picture.data)).size


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_is_right_is_sent_byte_for_byte_under_its_own_name(kind: str) -> None:
    data = encoded(kind)
    picture, changes = picture_of(with_image(data), size=(120, 80), max_characters=60_000)
    assert (picture.data, picture.media_type, changes) == (data, f"image/{kind.lower()}", ())
    assert picture_of(with_image(data), size=None, max_characters=None) == (picture, ())
    uri = picture.prefix + base64.b64encode(data).decode()
    assert picture.uri_characters == len(uri)


@pytest.mark.parametrize(("fit", "side"), [("crop", (0, 128, 128)), ("pad", (0, 0, 0))])
def test_a_picture_is_brought_to_the_size_of_the_video(fit: str, side: tuple[int, int, int]) -> None:
    request = with_image(encoded(size=(100, 200)), width=64, height=32, image_fit=fit)
    picture, changes = picture_of(request, size=(64, 32), max_characters=None)
    image = Image.open(BytesIO(picture.data)).convert("RGB")
    assert image.size == (64, 32)
    assert image.getpixel((0, 16)) == side
    assert [change.parameter for change in changes] == ["image"]


def test_transparency_is_reported_only_where_the_picture_is_made_anew() -> None:
    written = BytesIO()
    noise = Image.effect_noise((300, 300), 90).convert("RGBA")
    noise.putalpha(200)
    noise.save(written, "PNG")
    request = with_image(written.getvalue())
    assert picture_of(request, size=None, max_characters=None)[1] == ()
    _, fitted = picture_of(request, size=(64, 32), max_characters=None)
    assert [change.applied for change in fitted] == ["opaque", "64x32"]
    _, smaller = picture_of(request, size=None, max_characters=60_000)
    assert smaller[0].applied == "opaque"


def test_a_wish_how_to_fit_is_reported_where_there_is_no_size() -> None:
    _, changes = picture_of(with_image(encoded(), image_fit="pad"), size=None, max_characters=None)
    assert [(change.parameter, change.applied) for change in changes] == [("image_fit", None)]


def test_a_picture_that_is_too_long_becomes_a_smaller_jpeg() -> None:
    noise = Image.effect_noise((900, 700), 90).convert("RGB")
    written = BytesIO()
    noise.save(written, "PNG")
    picture, (change,) = picture_of(with_image(written.getvalue()), size=None, max_characters=60_000)
    assert picture.media_type == "image/jpeg"
    assert 10_000 < picture.uri_characters <= 60_000
    assert size_of(picture)[0] / size_of(picture)[1] == pytest.approx(9 / 7, rel=0.01)
    assert (change.parameter, change.requested) == ("image", f"{len(written.getvalue()):,} bytes")


def test_a_picture_that_cannot_be_made_small_enough_is_refused() -> None:
    with pytest.raises(ValidationError, match="small enough"):
        picture_of(with_image(encoded(size=(2000, 2000))), size=None, max_characters=100)


@pytest.mark.parametrize("data", [b"GIF89a" + bytes(100), b"<html></html>", b"", bytes(100), b"%PDF-1.7"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ValidationError, match="cannot be used") as caught:
        picture_of(with_image(data), size=None, max_characters=None)
    assert list(caught.value.details) == ["image"]


def test_a_damaged_picture_that_must_be_fitted_is_refused_before_anything_is_sent(
    caller: Caller, internet: FakeInternet
) -> None:
    cut = encoded(size=(300, 300))[:200]
    request = video_request("fal-ai", Task.IMAGE_TO_VIDEO, image=cut, width=832, height=480)
    assert isinstance(caller.generate(request).failed(), ValidationError)
    assert internet.posts == 0


def test_a_size_that_was_asked_reaches_the_picture(caller: Caller, internet: FakeInternet) -> None:
    request = video_request("fal-ai", Task.IMAGE_TO_VIDEO, width=832, height=480, image_fit="pad")
    video = caller.generate(request).made()
    (job,) = internet.jobs
    sent = base64.b64decode(job.payload["image_url"].partition(",")[2])
    assert Image.open(BytesIO(sent)).size == (832, 480)
    assert "image" in {change.parameter for change in video.adjustments}


def sent(body: Body) -> tuple[bytes, httpx2.Headers]:
    """Return what a request with the body sends."""

    async def run() -> tuple[bytes, httpx2.Headers]:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _request: httpx2.Response(200))) as client:
            request = body.request(client, "https://host.example/x", headers={"a": "b"})
            return await request.aread(), request.headers

    return asyncio.run(run())


@settings(max_examples=50, deadline=None)
@given(picture=st.binary(max_size=500_000), prompt=st.text(max_size=50))
def test_a_body_is_the_json_that_it_stands_for(picture: bytes, prompt: str) -> None:
    placeholder = new_placeholder()
    payload = {
        "image": placeholder,
        "nested": [{"again": placeholder}],
        "prompt": prompt.encode("utf-8", "ignore").decode(),
    }
    content, headers = sent(json_body_with_picture(payload, picture, placeholder=placeholder, prefix="data:,"))
    uri = "data:," + base64.b64encode(picture).decode()
    assert json.loads(content) == {"image": uri, "nested": [{"again": uri}], "prompt": payload["prompt"]}
    assert headers["content-length"] == str(len(content))
    assert headers["content-type"] == "application/json"
    assert "transfer-encoding" not in headers


def test_a_body_without_a_picture_is_plain_json() -> None:
    content, headers = sent(json_body({"prompt": "Gänse und 鵝", "seed": 7}))
    assert content == '{"prompt":"Gänse und 鵝","seed":7}'.encode()
    assert headers["a"] == "b"


def test_a_prompt_cannot_stand_for_the_picture(caller: Caller, internet: FakeInternet) -> None:
    prompt = "https://image.invalid/0123456789abcdef0123456789abcdef"
    caller.generate(video_request("fal-ai", Task.IMAGE_TO_VIDEO, prompt=prompt)).made()
    assert internet.jobs[0].prompt == prompt
