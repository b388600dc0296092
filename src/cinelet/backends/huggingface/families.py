"""How each host names a model's parameters, and their limits: one row a family and host, the first that fits counts.

The names and limits are those of the hosts' own documentation. A host that is not in the table gets the library's
standard names. What a row does not name has no effect there, and is reported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from cinelet.domain.backend import FrameRule

ENDPOINT = "endpoint"
"""A dedicated endpoint, where others are called by their provider's name."""


_ANY_COUNT = FrameRule()


@dataclass(frozen=True, slots=True)
class Number:
    """A number's name at a host, and its limits there. as_text: it is sent as a text."""

    name: str
    low: float = 0
    high: float = float("inf")
    as_text: bool = False


@dataclass(frozen=True, slots=True)
class Sides:
    """Any size, as `width` and `height`, in multiples of `multiple` pixels."""

    multiple: int = 1


@dataclass(frozen=True, slots=True)
class Sizes:
    """A few sizes, as one text such as "832*480"."""

    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Tiers:
    """A resolution such as "720p" and an aspect ratio such as "16:9". tiers: the size of each at 16:9, in pixels."""

    tiers: tuple[tuple[str, tuple[int, int]], ...]
    ratios: tuple[str, ...] = ("16:9", "9:16", "1:1")


@dataclass(frozen=True, slots=True)
class Family:
    """How models of one kind are asked at one host.

    model: matches the host's name of the model and its Hub id, in lower case. frames: the frame count, for which
    `frame_rule` holds, or `frame_choices` where they are few. fps: the rate, or native_fps where it is fixed. seconds:
    the duration, where it is asked instead of a frame count; one of `second_choices` where they are few.
    """

    host: str
    model: str
    frames: Number | None = None
    frame_rule: FrameRule = _ANY_COUNT
    frame_choices: tuple[int, ...] = ()
    fps: Number | None = None
    native_fps: float | None = None
    seconds: Number | None = None
    second_choices: tuple[int, ...] = ()
    steps: Number | None = Number("num_inference_steps", 1)
    guidance: Number | None = Number("guidance_scale")
    seed: str | None = "seed"
    negative_prompt: str | None = "negative_prompt"
    size: Sides | Sizes | Tiers | None = None


_480P, _580P, _720P = ("480p", (832, 480)), ("580p", (1024, 576)), ("720p", (1280, 720))
_WAN_480P, _WAN_720P = Sizes(((832, 480), (480, 832))), Sizes(((1280, 720), (720, 1280)))

_STANDARD = Family("", "", frames=Number("num_frames"))

_FAL_WAN_22 = Family(
    "fal-ai",
    r"wan/v2\.2|wan-?2\.2",
    frames=Number("num_frames"),
    frame_rule=FrameRule(4, 1, minimum=17, maximum=161),
    fps=Number("frames_per_second", 4, 60),
    steps=Number("num_inference_steps", 2, 40),
    guidance=Number("guidance_scale", 1, 10),
    size=Tiers((_480P, _580P, _720P)),
)
_FAL_WAN_21 = Family(
    "fal-ai",
    r"wan",
    frames=Number("num_frames"),
    frame_rule=FrameRule(4, 1, minimum=81, maximum=97),
    fps=Number("frames_per_second", 5, 24),
    steps=Number("num_inference_steps", 2, 40),
    guidance=None,
    size=Tiers((_480P, _720P), ratios=("16:9", "9:16")),
)
_FAL_LTX = Family(
    "fal-ai",
    r"ltx",
    frames=Number("num_frames"),
    frame_rule=FrameRule(8, 1, minimum=9, maximum=161),
    fps=Number("frame_rate", 1, 60),
    steps=Number("first_pass_num_inference_steps", 2, 50),
    guidance=None,
    size=Tiers((_480P, _720P)),
)
_FAL_HUNYUAN = Family(
    "fal-ai",
    r"hunyuan",
    frames=Number("num_frames", as_text=True),
    frame_choices=(85, 129),
    native_fps=24,
    steps=Number("num_inference_steps", 2, 30),
    guidance=None,
    negative_prompt=None,
    size=Tiers((_480P, _580P, _720P), ratios=("16:9", "9:16")),
)
_WAVESPEED_WAN = Family(
    "wavespeed",
    r"wan",
    seconds=Number("duration"),
    second_choices=(5, 8),
    native_fps=16,
    steps=Number("num_inference_steps", 1, 40),
    guidance=Number("guidance_scale", 0, 10),
    size=_WAN_480P,
)
_REPLICATE_WAN = Family(
    "replicate",
    r"wan",
    frames=Number("num_frames"),
    frame_rule=FrameRule(4, 1, minimum=81, maximum=97),
    fps=Number("frames_per_second", 5, 24),
    steps=Number("sample_steps", 1, 40),
    guidance=Number("sample_guide_scale", 0, 10),
    negative_prompt=None,
    size=Tiers((_480P,), ratios=("16:9", "9:16")),
)

FAMILIES: tuple[Family, ...] = (
    # fal.ai/models/<model>/llms.txt
    replace(_FAL_WAN_22, model=r"wan/v2\.2-5b", size=Tiers((_580P, _720P)), steps=Number("num_inference_steps", 2, 50)),
    _FAL_WAN_22,
    _FAL_WAN_21,
    _FAL_LTX,
    _FAL_HUNYUAN,
    Family(
        "fal-ai",
        r"cogvideox",
        fps=Number("export_fps", 4, 32),
        steps=Number("num_inference_steps", 1, 50),
        guidance=Number("guidance_scale", 0, 20),
    ),
    Family("fal-ai", r"mochi", native_fps=30, steps=None, guidance=None),
    # wavespeed.ai/docs/docs-api
    replace(_WAVESPEED_WAN, model=r"wan.*5b.*720p", native_fps=24, size=_WAN_720P),
    replace(_WAVESPEED_WAN, model=r"wan.*720p", size=_WAN_720P),
    _WAVESPEED_WAN,
    # docs.together.ai/reference/create-videos; the library turns the standard name of the steps into Together's
    Family(
        "together",
        r"wan-?2\.7",
        seconds=Number("seconds", 1, as_text=True),
        fps=Number("fps", 1, 60),
        steps=Number("num_inference_steps", 10, 50),
    ),
    Family(
        "together",
        r"",
        seconds=Number("seconds", 1, as_text=True),
        fps=Number("fps", 1, 60),
        steps=Number("num_inference_steps", 10, 50),
        size=Sides(),
    ),
    # replicate.com/<model>/api
    replace(_REPLICATE_WAN, model=r"wan-?2\.2.*fast", steps=None, guidance=None, size=Tiers((_480P, _720P))),
    replace(
        _REPLICATE_WAN,
        model=r"wan-2\.1-1\.3b",
        frames=Number("frame_num"),
        frame_rule=FrameRule(4, 1, minimum=81, maximum=81),
        fps=None,
        native_fps=16,
        steps=Number("sample_steps", 10, 50),
        guidance=Number("sample_guide_scale", 0, 20),
    ),
    _REPLICATE_WAN,
    Family(
        "replicate",
        r"ltx",
        frames=Number("num_frames"),
        frame_rule=FrameRule(8, 1, minimum=9, maximum=257),
        fps=Number("fps", 1, 60),
        guidance=Number("guidance_scale", 1, 10),
        size=Sides(32),
    ),
    Family(
        "replicate",
        r"hunyuan",
        frames=Number("video_length"),
        frame_rule=FrameRule(4, 1, minimum=1, maximum=129),
        fps=Number("fps", 1, 60),
        steps=Number("infer_steps", 1, 100),
        guidance=Number("embedded_guidance_scale", 1, 10),
        negative_prompt=None,
        size=Sides(16),
    ),
    Family(
        "replicate",
        r"mochi",
        frames=Number("num_frames"),
        frame_rule=FrameRule(6, 1, minimum=7, maximum=163),
        fps=Number("fps", 1, 60),
        negative_prompt=None,
    ),
    Family(
        "replicate",
        r"cogvideox",
        native_fps=8,
        steps=Number("steps", 1, 120),
        guidance=Number("guidance", 0, 12),
        negative_prompt=None,
    ),
    # A pipeline of diffusers stands behind most dedicated endpoints.
    replace(_STANDARD, host=ENDPOINT, size=Sides(8)),
)


def family_of(host: str, *names: str) -> Family:
    """Return the row of a model. host: a provider's name or `ENDPOINT`. names: the host's own for it, and the Hub's."""
    text = " ".join(names).lower()
    return next((row for row in FAMILIES if row.host == host and re.search(row.model, text)), _STANDARD)
