"""What is JSON and no request that anybody means: refused like any other wrong one, and never a failure here."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import httpx2
import pytest

from cinelet.api.bodies import NUMBERS
from cinelet.testing import example_image

DEEP = "[" * 60_000
"""Deeper than Python reads."""
HUGE = "1" * 400
"""More than a float holds."""
PLACES = ("/v1/text-to-video", "/v1/image-to-video", "/v1/videos", "/v1/estimate", "/v1/batches")


def refusal(reply: httpx2.Response) -> dict[str, Any]:
    """Return the error of a refused request."""
    assert reply.status_code in {400, 422}, reply.text
    error: dict[str, Any] = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert len(error["message"].splitlines()) == 1
    return error


@pytest.mark.parametrize("path", PLACES)
def test_json_that_is_too_deep_is_refused(client: httpx2.Client, path: str) -> None:
    refusal(client.post(path, content=DEEP, headers={"content-type": "application/json"}))


@pytest.mark.parametrize("field", ["lora", "input_reference"])
def test_a_field_with_json_that_is_too_deep_is_named(client: httpx2.Client, field: str) -> None:
    written = ("[" if field == "lora" else '{"a":') * 3000
    assert refusal(client.post("/v1/videos", data={"prompt": "x", field: written}))["param"] == field


def test_a_lora_of_a_form_that_is_too_deep_is_named(client: httpx2.Client) -> None:
    files = {"image": ("x.png", io.BytesIO(b"x"))}
    assert refusal(client.post("/v1/image-to-video", data={"lora": DEEP}, files=files))["param"] == "lora"


def test_metadata_that_are_too_deep_are_named(client: httpx2.Client) -> None:
    files = {"file": ("x.jsonl", io.BytesIO(b'{"prompt": "x"}'))}
    assert refusal(client.post("/v1/batches", data={"metadata": DEEP}, files=files))["param"] == "metadata"


@pytest.mark.parametrize("field", ["fps", "seconds", "num_frames", "num_inference_steps", "guidance_scale", "seed"])
def test_a_number_that_is_too_large_is_refused_by_name(client: httpx2.Client, field: str) -> None:
    body = f'{{"prompt": "x", "{field}": {HUGE}}}'
    reply = client.post("/v1/videos", content=body, headers={"content-type": "application/json"})
    assert refusal(reply)["param"] in {field, "duration"}


@pytest.mark.parametrize("path", ["/v1/text-to-video", "/v1/videos"])
@pytest.mark.parametrize("name", [r"\ud800", r"a\r\nSet-Cookie: b", r"\u0000", r"\u2028"])
def test_a_field_whose_name_no_reply_can_hold_is_refused_in_one_line(
    client: httpx2.Client, path: str, name: str
) -> None:
    body = f'{{"prompt": "x", "{name}": 1}}'
    error = refusal(client.post(path, content=body, headers={"content-type": "application/json"}))
    assert list(error["details"]["details"]) == [error["param"]]


@pytest.mark.parametrize("path", ["/v1/image-to-video", "/v1/videos"])
def test_only_an_image_is_sent_as_a_file(client: httpx2.Client, path: str) -> None:
    image = f"data:image/png;base64,{base64.b64encode(example_image()).decode()}"
    files = {"prompt": ("prompt.txt", io.BytesIO(b"a heron"))}
    field = "image" if path == "/v1/image-to-video" else "input_reference"
    assert refusal(client.post(path, data={field: image}, files=files))["param"] == "prompt"


@pytest.mark.parametrize("path", ["/v1/image-to-video", "/v1/videos"])
@pytest.mark.parametrize("kind", ["text/plain", ""])
def test_a_body_of_another_kind_is_named_as_such(client: httpx2.Client, path: str, kind: str) -> None:
    reply = client.post(path, content=b'{"prompt": "x"}', headers={"content-type": kind})
    assert refusal(reply)["param"] == "content-type"


def test_the_kind_of_a_body_is_read_in_any_case(client: httpx2.Client) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.post("/v1/videos", content=b'{"prompt": "x", "seconds": "1"}', headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/v1/generations", "/v1/batches", "/v1/webhooks/deliveries"])
def test_a_page_after_what_no_database_holds_does_not_exist(client: httpx2.Client, path: str) -> None:
    after = base64.urlsafe_b64encode(b"1.0 gen_\0").decode()
    reply = client.get(path, params={"after": after})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "page_not_found")


def test_a_wrong_lora_is_told_in_our_words_alone(client: httpx2.Client) -> None:
    error = refusal(client.post("/v1/text-to-video", json={"prompt": "x", "lora": "org/x"}))
    assert error["message"].startswith("lora: must be a JSON list")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (path, field)
        for path in ("/v1/text-to-video", "/v1/image-to-video", "/v1/estimate", "/v1/videos")
        for field in NUMBERS
        if path != "/v1/videos" or field not in {"duration", "priority"}  # which has `seconds`
    ],
)
def test_true_is_no_number(client: httpx2.Client, path: str, field: str) -> None:
    image = f"data:image/png;base64,{base64.b64encode(example_image()).decode()}"
    body: dict[str, Any] = {"prompt": "x", "width": 64, "height": 64, field: True}
    if path == "/v1/image-to-video":
        body["image"] = image
    error = refusal(client.post(path, json=body))
    assert error["param"] == field
    assert "number" in error["message"] or path == "/v1/estimate"


@pytest.mark.parametrize("path", PLACES)
def test_a_field_that_is_given_twice_is_refused_by_name(client: httpx2.Client, path: str) -> None:
    body = '{"prompt": "x", "seed": 1, "seed": 2}'
    if path == "/v1/batches":
        body = f'{{"requests": [{body}]}}'
    reply = client.post(path, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 422
    error = refusal(reply)
    assert (error["param"], error["message"]) == ("seed", "seed is given twice; give it once")


def test_a_line_with_a_field_that_is_given_twice_stops_no_other(client: httpx2.Client) -> None:
    lines = '{"prompt": "x", "duration": 1}\n{"prompt": "x", "prompt": "y"}\n'
    reply = client.post("/v1/batches", content=lines, headers={"content-type": "application/jsonl"})
    results = client.get(f"/v1/batches/{reply.json()['id']}/results").text.splitlines()
    assert "prompt is given twice" in results[1]
    assert json.loads(results[0])["error"] is None
