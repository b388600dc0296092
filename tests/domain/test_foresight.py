from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cinelet import generate
from cinelet.assembly import VideoService
from cinelet.domain.backend import Capabilities, FrameRule
from cinelet.domain.foresight import foreseen
from cinelet.domain.request import Task, VideoRequest
from cinelet.domain.sizes import SizeRule

EVERY = frozenset(VideoRequest.model_fields)


def changes(known: dict[str, Any], **values: Any) -> dict[str, tuple[Any, Any]]:
    capabilities = Capabilities(**{"model": "m", "tasks": frozenset(Task), "runs_on": "", "parameters": EVERY, **known})
    request = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="a", **values)
    return {change.parameter: (change.requested, change.applied) for change in foreseen(request, capabilities)}


@pytest.mark.parametrize(
    ("known", "values", "expected"),
    [
        ({}, {"guidance_scale": 3, "width": 100, "height": 64, "fps": 24}, {}),
        ({"parameters": EVERY - {"guidance_scale"}}, {"guidance_scale": 3}, {"guidance_scale": (3.0, None)}),
        ({"parameters": EVERY - {"guidance_scale"}}, {}, {}),
        ({"size_multiple": 32}, {"width": 100, "height": 64}, {"size": ("100x64", "the nearest that it can make")}),
        ({"size_multiple": 32}, {"width": 96, "height": 64}, {}),
        ({"size_rule": SizeRule(32)}, {"width": 100, "height": 64}, {"size": ("100x64", "96x64")}),
        ({"size_rule": SizeRule(32, least=96)}, {"width": 100, "height": 64}, {"size": ("100x64", "96x96")}),
        ({"size_rule": SizeRule(1, ((192, 192),))}, {"width": 64, "height": 64}, {"size": ("64x64", "192x192")}),
        ({"size_rule": SizeRule(1, ((192, 192),))}, {"width": 192, "height": 192}, {}),
        ({"size_rule": SizeRule(32)}, {"width": 100, "height": 64, "upscaler": "local:org/twice"}, {}),
        ({"parameters": EVERY - {"width", "height"}}, {"width": 96, "height": 64}, {"size": ("96x64", None)}),
        ({"native_fps": 8.0}, {"fps": 24}, {"fps": (24, 8)}),
        ({"native_fps": 8.0}, {"fps": 8}, {}),
        ({"frame_rule": FrameRule(maximum=49), "native_fps": 8.0}, {"duration": 7}, {"duration": (7.0, 7.0)}),
        ({"frame_rule": FrameRule(maximum=49), "native_fps": 8.0}, {"duration": 6}, {}),
        ({"parameters": frozenset()}, {"guidance_scale": 3, "width": 96, "height": 64}, {}),
    ],
)
def test_what_is_known_of_a_model_says_what_it_will_change(
    known: dict[str, Any], values: dict[str, Any], expected: dict[str, tuple[Any, Any]]
) -> None:
    assert changes(known, **values) == expected


def test_what_is_foreseen_for_the_embedded_model_is_what_it_then_does() -> None:
    """By its own capabilities, against a run."""

    async def asked() -> Capabilities:
        async with VideoService() as service:
            return await service.capabilities("embedded")

    values: dict[str, Any] = {"duration": 1, "fps": 12, "width": 100, "height": 64, "seed": 4}
    request = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="a red circle", **values)
    expected = {change.parameter: change.applied for change in foreseen(request, asyncio.run(asked()))}
    with generate("a red circle", model="embedded", num_inference_steps=1, cache="off", **values) as video:
        made = {change.parameter: change.applied for change in video.adjustments}
    assert expected.keys() == {"fps", "size"}
    assert made == expected
