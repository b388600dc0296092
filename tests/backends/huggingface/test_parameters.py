"""What a request becomes at each host: nothing is dropped in silence, and nothing leaves the host's limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinelet.backends.huggingface.families import ENDPOINT, FAMILIES, Family, Number, Sizes, Tiers, family_of
from cinelet.backends.huggingface.parameters import Plan, honoured, make_plan
from cinelet.domain.request import Limits, Task, VideoRequest
from cinelet.testing.contract import OPTIONAL_PARAMETERS

MODELS: dict[str, tuple[str, str]] = {
    "fal wan 2.2": ("fal-ai", "fal-ai/wan/v2.2-a14b/text-to-video"),
    "fal wan 2.2 5b": ("fal-ai", "fal-ai/wan/v2.2-5b/text-to-video"),
    "fal wan 2.1": ("fal-ai", "fal-ai/wan-t2v"),
    "fal ltx": ("fal-ai", "fal-ai/ltx-video-13b-distilled"),
    "fal hunyuan": ("fal-ai", "fal-ai/hunyuan-video"),
    "fal cogvideox": ("fal-ai", "fal-ai/cogvideox-5b"),
    "fal mochi": ("fal-ai", "fal-ai/mochi-v1"),
    "wavespeed wan 480p": ("wavespeed", "wavespeed-ai/wan-2.2/t2v-480p"),
    "wavespeed wan 5b": ("wavespeed", "wavespeed-ai/wan-2.2/t2v-5b-720p"),
    "wavespeed wan 720p": ("wavespeed", "wavespeed-ai/wan-2.1/t2v-720p"),
    "together": ("together", "Wan-AI/Wan2.2-T2V-A14B"),
    "together wan 2.7": ("together", "Wan-AI/wan2.7-t2v"),
    "replicate wan 2.2 fast": ("replicate", "wan-video/wan-2.2-t2v-fast"),
    "replicate wan 1.3b": ("replicate", "wan-video/wan-2.1-1.3b"),
    "replicate wan": ("replicate", "wavespeedai/wan-2.1-t2v-480p"),
    "replicate ltx": ("replicate", "lightricks/ltx-video-0.9.7"),
    "replicate hunyuan": ("replicate", "tencent/hunyuan-video"),
    "replicate mochi": ("replicate", "genmoai/mochi-1"),
    "replicate cogvideox": ("replicate", "cuuupid/cogvideox-5b"),
    "endpoint": (ENDPOINT, "https://xyz.endpoints.huggingface.cloud"),
    "nobody knows": ("novita", "something-new"),
}


def row(name: str) -> Family:
    return family_of(*MODELS[name])


def plan(name: str, **fields: Any) -> Plan:
    request = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="a cat", **fields)
    return make_plan(request, row(name), host=MODELS[name][0], seed=42)


def changes(made: Plan) -> dict[str, tuple[Any, Any]]:
    return {change.parameter: (change.requested, change.applied) for change in made.adjustments}


def test_every_row_of_the_table_is_reached_by_a_model_here() -> None:
    assert {id(row(name)) for name in MODELS} >= {id(family) for family in FAMILIES}


@pytest.mark.parametrize(
    ("name", "fields", "expected", "changed"),
    [
        (
            "fal wan 2.2",
            {"duration": 5, "fps": 16, "width": 832, "height": 480},
            {"num_frames": 81, "frames_per_second": 16, "resolution": "480p", "aspect_ratio": "16:9", "seed": 42},
            {},
        ),
        (
            "fal wan 2.2",
            {"duration": 1, "fps": 8, "width": 720, "height": 1280},
            {"num_frames": 17, "frames_per_second": 17, "resolution": "720p", "aspect_ratio": "9:16", "seed": 42},
            {"fps": (8, 17)},
        ),
        (
            "fal wan 2.2",
            {"duration": 30, "fps": 24, "num_inference_steps": 50, "guidance_scale": 25},
            {"num_frames": 161, "frames_per_second": 24, "num_inference_steps": 40, "guidance_scale": 10, "seed": 42},
            {"duration": (30, 6.708), "num_inference_steps": (50, 40), "guidance_scale": (25, 10)},
        ),
        (
            "fal wan 2.1",
            {"duration": 6, "fps": 8, "guidance_scale": 5},
            {"num_frames": 81, "frames_per_second": 14, "seed": 42},
            {"duration": (6, 5.786), "fps": (8, 14), "guidance_scale": (5, None)},
        ),
        (
            "fal ltx",
            {"duration": 5, "fps": 24, "num_inference_steps": 30, "width": 500, "height": 500},
            {
                "num_frames": 121,
                "frame_rate": 24,
                "first_pass_num_inference_steps": 30,
                "resolution": "480p",
                "aspect_ratio": "1:1",
                "seed": 42,
            },
            {"size": ("500x500", "480p 1:1")},
        ),
        (
            "fal hunyuan",
            {"duration": 5, "fps": 24, "negative_prompt": "blurry"},
            {"num_frames": "129", "seed": 42},
            {"duration": (5, 5.375), "negative_prompt": ("blurry", None)},
        ),
        (
            "fal cogvideox",
            {"duration": 6, "fps": 2, "width": 720, "height": 480},
            {"export_fps": 4, "seed": 42},
            {"duration": (6, None), "fps": (2, 4), "size": ("720x480", None)},
        ),
        ("fal mochi", {"fps": 30}, {"seed": 42}, {"duration": (6, None)}),
        (
            "wavespeed wan 480p",
            {"duration": 6, "fps": 8, "width": 480, "height": 832},
            {"duration": 5, "size": "480*832", "seed": 42},
            {"duration": (6, 5), "fps": (8, 16)},
        ),
        (
            "wavespeed wan 5b",
            {"duration": 8, "fps": 24, "width": 640, "height": 480},
            {"duration": 8, "size": "1280*720", "seed": 42},
            {"size": ("640x480", "1280x720")},
        ),
        (
            "together",
            {"duration": 5.4, "fps": 24, "num_inference_steps": 5, "width": 1024, "height": 576},
            {"seconds": "5", "fps": 24, "num_inference_steps": 10, "width": 1024, "height": 576, "seed": 42},
            {"duration": (5.4, 5), "num_inference_steps": (5, 10)},
        ),
        (
            "together wan 2.7",
            {"duration": 5, "width": 1024, "height": 576},
            {"seconds": "5", "fps": 8, "seed": 42},
            {"size": ("1024x576", None)},
        ),
        (
            "replicate wan",
            {"duration": 5, "fps": 16, "num_inference_steps": 20, "guidance_scale": 6},
            {"num_frames": 81, "frames_per_second": 16, "sample_steps": 20, "sample_guide_scale": 6, "seed": 42},
            {},
        ),
        (
            "replicate ltx",
            {"duration": 4, "fps": 24, "width": 700, "height": 480},
            {"num_frames": 97, "fps": 24, "width": 704, "height": 480, "seed": 42},
            {"size": ("700x480", "704x480")},
        ),
        (
            "endpoint",
            {"duration": 2, "fps": 8, "width": 512, "height": 320, "num_inference_steps": 25, "guidance_scale": 9},
            {
                "num_frames": 16,
                "num_inference_steps": 25,
                "guidance_scale": 9,
                "width": 512,
                "height": 320,
                "seed": 42,
            },
            {"fps": (8, None)},
        ),
        (
            "nobody knows",
            {"duration": 2, "fps": 8, "negative_prompt": "blurry", "seed": 7, "width": 512, "height": 320},
            {"num_frames": 16, "negative_prompt": "blurry", "seed": 7},
            {"fps": (8, None), "size": ("512x320", None)},
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_request_in_a_hosts_own_words(
    name: str, fields: dict[str, Any], expected: dict[str, Any], changed: dict[str, tuple[Any, Any]]
) -> None:
    made = plan(name, **fields)
    assert made.parameters == expected
    assert changes(made) == changed
    assert all(change.reason for change in made.adjustments)


def test_a_lora_of_wan_is_asked_as_wan_by_its_name_at_the_hub() -> None:
    assert family_of("fal-ai", "fal-ai/own-name", "someone/Wan2.2-style-lora") == row("fal wan 2.2")


def test_a_seed_is_chosen_only_where_the_host_takes_one() -> None:
    assert plan("fal wan 2.2").seed == 42
    assert plan("fal wan 2.2", seed=2**63 - 1).seed == 2**63 - 1
    request = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="a cat", seed=7)
    made = make_plan(request, Family("x", "", seed=None), host="x", seed=42)
    assert (made.seed, changes(made)["seed"]) == (None, (7, None))


def test_an_encoding_that_was_chosen_is_reported_and_a_default_is_not() -> None:
    made = changes(plan("fal wan 2.2", codec="av1", preset="high"))
    assert (made["codec"], made["preset"]) == (("av1", None), ("high", None))
    assert {"codec", "preset"}.isdisjoint(changes(plan("fal wan 2.2", preset="medium")))


def test_a_portrait_does_not_become_a_landscape() -> None:
    for name in MODELS:
        match row(name).size:
            case Sizes():
                width, height = map(int, plan(name, width=300, height=900).parameters["size"].split("*"))
                assert height > width
            case Tiers():
                assert plan(name, width=300, height=900).parameters["aspect_ratio"] == "9:16"
            case _:
                pass


REQUESTS = st.builds(
    VideoRequest,
    task=st.sampled_from(Task),
    prompt=st.just("a cat"),
    image=st.just(b"picture"),
    negative_prompt=st.none() | st.text(min_size=1, max_size=20),
    duration=st.floats(1, 30) | st.integers(1, 30),
    fps=st.integers(1, 60),
    num_inference_steps=st.none() | st.integers(1, 100),
    guidance_scale=st.none() | st.floats(0, 100),
    seed=st.none() | st.integers(0, 2**63 - 1),
    width=st.integers(16, 4096),
    height=st.integers(16, 4096),
    preset=st.sampled_from([None, "low", "medium", "high"]),
    codec=st.sampled_from(["h264", "av1", "vp9"]),
) | st.builds(VideoRequest, task=st.just(Task.TEXT_TO_VIDEO), prompt=st.just("a cat"))


@given(request=REQUESTS, name=st.sampled_from(sorted(MODELS)))
def test_nothing_is_dropped_in_silence_and_no_limit_is_passed(request: VideoRequest, name: str) -> None:
    family = row(name)
    made = make_plan(request, family, host="the host", seed=42)
    changed = changes(made)
    named: dict[str, Number | str | None] = {
        "num_inference_steps": family.steps,
        "guidance_scale": family.guidance,
        "seed": family.seed,
        "negative_prompt": family.negative_prompt,
    }
    for field, number in named.items():
        value, key = getattr(request, field), number.name if isinstance(number, Number) else number
        if value is not None:
            assert made.parameters.get(str(key)) == value or changed[field][0] == value, field
    if request.width is not None:
        sent = (made.parameters.get("width"), made.parameters.get("height"))
        star = made.parameters.get("size")
        honest = (request.width, request.height) in {sent, made.size} or star == f"{request.width}*{request.height}"
        assert honest or changed["size"][0] == f"{request.width}x{request.height}"
    assert made.parameters.get(getattr(family.fps, "name", "")) == request.fps or (
        request.fps == family.native_fps or changed["fps"][0] == request.fps
    )
    if not {getattr(family.frames, "name", ""), getattr(family.seconds, "name", "")} & set(made.parameters):
        assert changed["duration"] == (request.duration, None)
    assert ("codec" in changed) == (request.codec != "h264")
    for number in (family.steps, family.guidance, family.fps):
        if number is not None and number.name in made.parameters:
            assert number.low <= made.parameters[number.name] <= number.high
    if family.frames is not None:
        count = int(made.parameters[family.frames.name])
        assert count in family.frame_choices or count == family.frame_rule.at_least(count)
    assert made.seed == made.parameters.get("seed")


@given(duration=st.floats(1, Limits().max_duration), fps=st.integers(1, 60), name=st.sampled_from(sorted(MODELS)))
def test_the_frames_last_as_long_as_was_asked_or_the_difference_is_reported(
    duration: float, fps: int, name: str
) -> None:
    family = row(name)
    made = plan(name, duration=duration, fps=fps)
    if family.frames is None or (family.fps is None and family.native_fps is None):
        return
    rate: float = made.parameters[family.fps.name] if family.fps else family.native_fps or 0
    lasts = int(made.parameters[family.frames.name]) / rate
    assert abs(lasts - duration) <= 1 / rate + 1e-9 or changes(made)["duration"] == (duration, round(lasts, 3))


@pytest.mark.parametrize("name", MODELS)
def test_what_is_said_to_have_an_effect_has_one(name: str) -> None:
    family = row(name)
    fields = honoured(family, Task.TEXT_TO_VIDEO)
    assert fields <= set(VideoRequest.model_fields)
    for field, value in OPTIONAL_PARAMETERS.items():
        reported = changes(plan(name, **{field: value})).get(field, (None, value))
        assert (reported[1] is None) == (field not in fields)
    assert "image" not in fields
    assert "image" in honoured(family, Task.IMAGE_TO_VIDEO)
