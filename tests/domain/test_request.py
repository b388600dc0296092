from __future__ import annotations

import math
from typing import Any

import pytest

from cinelet.domain.errors import FileSizeError, ValidationError
from cinelet.domain.request import Limits, Task, VideoRequest, make_request

T2V, I2V = Task.TEXT_TO_VIDEO, Task.IMAGE_TO_VIDEO


@pytest.mark.parametrize(
    ("values", "message", "details"),
    [
        ({"prompt": ""}, "Prompt must be 1-1000 characters", {"prompt": "Invalid prompt length"}),
        ({"prompt": "  "}, "Prompt must be 1-1000 characters", {"prompt": "Invalid prompt length"}),
        ({"prompt": "x" * 1001}, "Prompt must be 1-1000 characters", {"prompt": "Invalid prompt length"}),
        ({"duration": 0}, "Duration must be 1-30 seconds", {"duration": "Must be between 1 and 30"}),
        ({"duration": 31}, "Duration must be 1-30 seconds", {"duration": "Must be between 1 and 30"}),
        ({"duration": math.nan}, "Duration must be 1-30 seconds", {"duration": "Must be between 1 and 30"}),
        ({"fps": 0}, "FPS must be 1-60", {"fps": "Must be between 1 and 60"}),
        ({"fps": 61}, "FPS must be 1-60", {"fps": "Must be between 1 and 60"}),
        (
            {"num_inference_steps": 0},
            "Inference steps must be 1-100",
            {"num_inference_steps": "Must be between 1 and 100"},
        ),
        (
            {"num_inference_steps": 101},
            "Inference steps must be 1-100",
            {"num_inference_steps": "Must be between 1 and 100"},
        ),
    ],
)
def test_the_specifications_limits_have_its_messages_and_details(
    values: dict[str, Any], message: str, details: dict[str, str]
) -> None:
    with pytest.raises(ValidationError) as caught:
        VideoRequest(**{"task": T2V, "prompt": "a", **values}).check(Limits())
    assert (caught.value.message, caught.value.details) == (message, details)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"guidance_scale": math.inf}, "guidance_scale"),
        ({"duration": math.nan}, "duration"),
        ({"num_inference_steps": 10**400}, "num_inference_steps"),
        ({"width": 15, "height": 64}, "width"),
        ({"width": 64, "height": 5000}, "height"),
        ({"width": 64}, "size"),
        ({"negative_prompt": "x" * 1001}, "negative_prompt"),
        ({"image": b"x"}, "image"),
        ({"max_cost": 0}, "max_cost"),
        ({"max_cost": math.nan}, "max_cost"),
        ({"max_seconds": -1}, "max_seconds"),
        ({"max_seconds": math.inf}, "max_seconds"),
        ({"width": 640, "height": 48, "codec": "av1"}, "codec"),
    ],
)
def test_our_own_limits_name_the_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        VideoRequest(**{"task": T2V, "prompt": "a", **values}).check(Limits())
    assert set(caught.value.details) == {field}


def test_a_strategy_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValidationError, match=r"prefer: .*'ordered', 'fastest', 'most_reliable', 'cheapest'.*balanced"):
        make_request(task=T2V, prompt="a", prefer="quickest")


def test_every_wrong_field_is_reported_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        VideoRequest(task=T2V, prompt="", duration=99, fps=0).check(Limits(max_duration=10))
    assert set(caught.value.details) == {"prompt", "duration", "fps"}
    assert "Duration must be 1-10 seconds" in caught.value.message


def test_an_image_needs_content_but_no_prompt() -> None:
    VideoRequest(task=I2V, image=b"x").check(Limits())
    with pytest.raises(ValidationError) as caught:
        VideoRequest(task=I2V, image=b"").check(Limits())
    assert set(caught.value.details) == {"image"}


def test_a_large_image_is_refused_before_anything_else() -> None:
    with pytest.raises(FileSizeError) as caught:
        VideoRequest(task=I2V, image=b"xxx", duration=99).check(Limits(max_image_bytes=2))
    assert (caught.value.size, caught.value.limit, caught.value.kind) == (3, 2, "image")


@pytest.mark.parametrize("prompt", ["x" * 1000, "一只猫", "🐈‍⬛ walks", "e\u0301té"])
def test_unicode_and_a_thousand_characters_are_fine(prompt: str) -> None:
    request = VideoRequest(task=T2V, prompt=prompt)
    request.check(Limits())
    assert request.prompt == prompt


def test_an_image_never_shows_in_a_requests_text() -> None:
    assert "SECRET" not in repr(VideoRequest(task=I2V, image=b"SECRET"))
