from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinelet.backends.openai_videos.fields import PARAMETERS, adjustments_of, applied_by, form_of, frame_count
from cinelet.domain.errors import ValidationError
from cinelet.domain.request import Task, VideoRequest
from cinelet.testing import example_image

VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


def text_request(**values: Any) -> VideoRequest:
    return VideoRequest(**{"task": Task.TEXT_TO_VIDEO, "prompt": "a red fox", "duration": 2, "fps": 8, **values})


def plain(request: VideoRequest) -> dict[str, Any]:
    return {name: value[1] for name, value in form_of(request, model="m", seed=7)}


def changes(request: VideoRequest, reply: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    found = adjustments_of(request, applied_by(reply, request, seed=1))
    assert all(change.reason for change in found)
    return {change.parameter: (change.requested, change.applied) for change in found}


class TestForm:
    def test_what_was_not_asked_for_is_left_to_the_engine(self) -> None:
        assert plain(text_request()) == {
            "prompt": "a red fox",
            "model": "m",
            "seconds": "2",
            "num_frames": "16",
            "fps": "8",
            "seed": "7",
        }

    def test_everything_that_was_asked_for_is_sent(self) -> None:
        asked = text_request(
            width=832, height=480, negative_prompt="blurry", guidance_scale=4.5, num_inference_steps=20
        )
        extra = {"size": "832x480", "width": "832", "height": "480", "negative_prompt": "blurry"}
        assert plain(asked).items() >= {**extra, "guidance_scale": "4.5", "num_inference_steps": "20"}.items()

    @settings(deadline=None)  # the machine may be busy
    @given(duration=st.floats(1, 30), fps=st.integers(1, 60))
    def test_seconds_are_whole_and_hold_all_frames(self, duration: float, fps: int) -> None:
        form = plain(text_request(duration=duration, fps=fps))
        assert form["seconds"].isdigit()
        assert int(form["seconds"]) * fps >= int(form["num_frames"])
        assert abs(int(form["num_frames"]) / fps - duration) <= 0.5 / fps + 1e-9

    def test_an_image_is_sent_as_what_it_is(self) -> None:
        image = example_image()
        request = VideoRequest(task=Task.IMAGE_TO_VIDEO, image=image)
        assert ("input_reference", ("image.png", image, "image/png")) in form_of(request, model="m", seed=1)
        assert "prompt" not in plain(request)

    @pytest.mark.parametrize("image", [b"GIF89a....", b"<html>", b"\x00\x01\x02"])
    def test_what_is_no_image_is_refused_before_anything_is_sent(self, image: bytes) -> None:
        with pytest.raises(ValidationError, match="give a PNG, JPEG or WebP") as caught:
            form_of(VideoRequest(task=Task.IMAGE_TO_VIDEO, image=image), model="m", seed=1)
        assert "image" in caught.value.details


class TestAdjustments:
    def test_an_engine_that_does_as_asked_changes_nothing(self) -> None:
        reply = {"seconds": "2", "size": "64x48", "fps": 8, "num_frames": 16}
        assert changes(text_request(width=64, height=48), reply) == {}

    @pytest.mark.parametrize("reply", [{}, {"seconds": None, "size": "", "fps": "x", "num_frames": -1}, {"fps": True}])
    def test_an_engine_that_tells_nothing_changes_nothing(self, reply: dict[str, Any]) -> None:
        assert changes(text_request(width=64, height=48), reply) == {}

    @pytest.mark.parametrize(
        ("reply", "expected"),
        [
            ({"seconds": "4"}, {"duration": (2.0, 4)}),
            ({"fps": 16, "num_frames": 32}, {"fps": (8, 16)}),
            ({"fps": 16, "num_frames": 16}, {"fps": (8, 16), "duration": (2.0, 1.0)}),
            ({"num_frames": 17}, {"duration": (2.0, 2.125)}),
            ({"size": "128x64"}, {"width": (64, 128), "height": (48, 64)}),
            ({"size": "64x64"}, {"height": (48, 64)}),
        ],
        ids=["seconds", "fps", "fps and duration", "frames", "size", "height"],
    )
    def test_what_an_engine_says_otherwise_is_told(self, reply: dict[str, Any], expected: dict[str, Any]) -> None:
        assert changes(text_request(width=64, height=48), reply) == expected

    def test_a_duration_between_whole_seconds_is_not_a_change(self) -> None:
        assert changes(text_request(duration=1.5, fps=6), {"seconds": "2"}) == {}

    def test_a_size_that_nobody_asked_for_is_no_change(self) -> None:
        request = text_request()
        assert changes(request, {"size": "832x480"}) == {}
        assert applied_by({"size": "832x480"}, request, seed=1)["width"] == 832

    def test_parameters_without_a_field_are_told_if_they_were_chosen(self) -> None:
        assert changes(text_request(), {}) == {}
        assert changes(text_request(preset="medium"), {}) == {}
        asked = text_request(preset="high", codec="av1", image_fit="pad")
        assert changes(asked, {}) == {"preset": ("high", None), "codec": ("av1", None), "image_fit": ("pad", None)}

    @settings(deadline=None)  # the machine may be busy
    @given(st.dictionaries(st.sampled_from(["seconds", "size", "fps", "num_frames"]), VALUES))
    def test_no_reply_breaks_it(self, reply: dict[str, Any]) -> None:
        request = text_request(width=64, height=48)
        adjustments_of(request, applied_by(reply, request, seed=1))


def test_what_has_an_effect_is_what_is_sent() -> None:
    request = VideoRequest(
        task=Task.IMAGE_TO_VIDEO,
        prompt="p",
        image=example_image(),
        negative_prompt="n",
        width=64,
        height=48,
        guidance_scale=1,
        num_inference_steps=2,
    )
    names = {"duration": "seconds", "image": "input_reference"}
    assert {names.get(name, name) for name in PARAMETERS} <= set(plain(request))


def test_there_is_always_a_frame() -> None:
    assert frame_count(text_request(duration=1, fps=1)) == 1
