"""What introspection cannot know about a pipeline: one row a family, the most specific name first.

Sources: the pipelines' documentation and `check_inputs`, and runs of each family (`tests/backends/diffusers`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cinelet.domain.backend import FrameRule

FREE = FrameRule()
_MAKES_SOMETHING_ELSE = re.compile(
    r"Modular|VideoToVideo|TextToImage|Control|Transfer|Upsample|DiffusionDecode|HunyuanDiT|HunyuanImage|WanAnimate"
    r"|Kandinsky(?!5[TI]2V|6TI2V)|Sana(?!Video|ImageToVideo)"
)
"""Of pipelines whose names begin as those of a family do."""


@dataclass(frozen=True, slots=True)
class Family:
    """One row. None means: as introspection says.

    native_fps: frames a second of the training clips. frame_rule: where the autoencoder's ratio does not say it.
    size_multiple, least_side: pixels. max_frames: of one run. default_size: (width, height).

    image_class: the pipeline that makes image-to-video from the same weights, if `image_flag` (an entry of the model's
    index) is None or true there. text_class: the other way round. condition_class: the pipeline that continues a clip
    from its last frames. video_class: the one that makes a given clip anew, and how much of it (`strength`, 0 to 1).

    needs_image: though the signature has a default. true_guidance: the argument that makes a negative prompt count.
    fixed: arguments that are always the same. steps_as: arguments that count the steps as well. steps_by_stage: the
    argument that lists the steps of each stage, where no other counts them. needs_negative: a negative prompt, be it
    empty. silent_bars: steps are counted on no bar that can be replaced, but told to a callback. makes_sound: which is
    left out. packages: what must be installed besides, and what for; only if `packages_flag` (an entry of the index) is
    true where there is one. refused: what a pipeline needs that a request cannot give, though it has defaults for all.

    exact_components: those that a GPU computes in float32, where it has the room. batches: whether several prompts in
    one run give what each gives alone. draws_on_device: whether it refuses random numbers that come from elsewhere.
    """

    native_fps: float | None = None
    frame_rule: FrameRule | None = None
    size_multiple: int | None = None
    least_side: int | None = None
    max_frames: int | None = None
    default_size: tuple[int, int] | None = None
    image_class: str | None = None
    image_flag: str | None = None
    text_class: str | None = None
    condition_class: str | None = None
    video_class: str | None = None
    strength: float = 0.6
    needs_image: bool = False
    true_guidance: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    steps_as: tuple[str, ...] = ()
    steps_by_stage: str | None = None
    needs_negative: bool = False
    silent_bars: bool = False
    makes_sound: bool = False
    packages: Mapping[str, str] = field(default_factory=dict)
    packages_flag: str | None = None
    refused: str | None = None
    exact_components: tuple[str, ...] = ()
    batches: bool = False
    draws_on_device: bool = False


_GUARDRAIL = {"cosmos_guardrail": "the safety checker that the model's licence asks for"}
_COSMOS = {**_GUARDRAIL, "torchvision": "diffusers' Cosmos transformer resizes with it"}
_LTX: dict[str, Any] = {
    "native_fps": 24,
    "size_multiple": 32,
    "max_frames": 257,
    "condition_class": "LTXConditionPipeline",
}
_LTX2: dict[str, Any] = {"native_fps": 24, "size_multiple": 32, "makes_sound": True}
_IN_CHUNKS: dict[str, Any] = {
    "frame_rule": FrameRule(32, 1, 33),  # a chunk decodes to 33 frames, of which later ones lose or gain a few
    "size_multiple": 16,
}

FAMILIES: dict[str, Family] = {
    "AllegroPipeline": Family(
        native_fps=15, frame_rule=FrameRule(16, 8, 24), size_multiple=8, default_size=(1280, 720), max_frames=88
    ),
    "AnimateDiffPipeline": Family(
        native_fps=8,
        frame_rule=FREE,
        size_multiple=8,
        max_frames=32,
        default_size=(512, 512),
        video_class="AnimateDiffVideoToVideoPipeline",
        batches=True,
    ),
    "AnimateDiff": Family(
        native_fps=8, frame_rule=FREE, size_multiple=8, max_frames=32, default_size=(512, 512), batches=True
    ),
    "AnimateDiffControlNet": Family(refused="control frames"),
    "AnimateDiffSparseControlNet": Family(refused="control frames"),
    "AnyFlowFAR": Family(native_fps=16, size_multiple=32, silent_bars=True),
    "AnyFlow": Family(native_fps=16, size_multiple=16),
    "ChronoEdit": Family(
        native_fps=16,
        size_multiple=16,
        fixed={"enable_temporal_reasoning": True},
        steps_as=("num_temporal_reasoning_steps",),
    ),
    "CogVideoXPipeline": Family(
        native_fps=8,
        frame_rule=FrameRule(8, 1, 9),
        size_multiple=16,
        max_frames=49,
        video_class="CogVideoXVideoToVideoPipeline",
        batches=True,
    ),
    "CogVideoX": Family(native_fps=8, frame_rule=FrameRule(8, 1, 9), size_multiple=16, max_frames=49),
    "ConsisID": Family(refused="a face that another network has found in the picture"),
    "Cosmos2VideoToWorld": Family(native_fps=16, size_multiple=16, needs_image=True, packages=_COSMOS),
    "Cosmos2": Family(native_fps=16, size_multiple=16, packages=_COSMOS),
    "Cosmos3": Family(
        native_fps=24,
        size_multiple=16,
        default_size=(1280, 720),
        packages=_GUARDRAIL,
        packages_flag="enable_safety_checker",
    ),
    "CosmosVideoToWorld": Family(native_fps=30, size_multiple=16, needs_image=True, packages=_COSMOS),
    "Cosmos": Family(native_fps=30, size_multiple=16, packages=_COSMOS),
    "EasyAnimateControl": Family(refused="a control video"),
    "EasyAnimateInpaint": Family(refused="a video and a mask"),
    "EasyAnimate": Family(
        native_fps=8, frame_rule=FrameRule(4, 1), size_multiple=16, max_frames=49, needs_negative=True
    ),
    "HeliosPyramid": Family(
        native_fps=24, steps_by_stage="pyramid_num_inference_steps_list", draws_on_device=True, **_IN_CHUNKS
    ),
    "Helios": Family(native_fps=24, draws_on_device=True, **_IN_CHUNKS),
    "HunyuanVideo15": Family(native_fps=24, size_multiple=16, default_size=(848, 480)),
    "HunyuanVideoFramepack": Family(native_fps=30, true_guidance="true_cfg_scale", **_IN_CHUNKS),
    "Hunyuan": Family(native_fps=24, size_multiple=16, max_frames=129, true_guidance="true_cfg_scale", batches=True),
    "I2VGenXL": Family(native_fps=8, frame_rule=FREE, size_multiple=64, max_frames=16, needs_image=True),
    # It brings the tones of its first four latent frames near those of the next: there must be one.
    "Kandinsky5I2V": Family(native_fps=24, frame_rule=FrameRule(4, 1, 17), size_multiple=16, max_frames=241),
    "Kandinsky6": Family(native_fps=24, size_multiple=16, makes_sound=True, fixed={"sample_audio": False}),
    "Kandinsky": Family(native_fps=24, size_multiple=16, max_frames=241),
    "LTX2DFR": Family(refused="key frames of another run"),
    "LTX2HDR": Family(refused="a reference video"),
    "LTX2InContext": Family(refused="a reference video"),
    "LTX2LatentUpsample": Family(refused="a video to enlarge"),
    "LTX2ImageToVideoPipeline": Family(needs_image=True, text_class="LTX2Pipeline", **_LTX2),
    "LTX2": Family(image_class="LTX2ImageToVideoPipeline", **_LTX2),
    # Its tiles of the picture overlap by 96 pixels. Without a seed of its own it draws from the generator that it gets.
    "LTXI2VLongMultiPrompt": Family(native_fps=24, size_multiple=32, least_side=96, fixed={"seed": None}),
    "LTXImageToVideoPipeline": Family(needs_image=True, text_class="LTXPipeline", draws_on_device=True, **_LTX),
    "LTXPipeline": Family(image_class="LTXImageToVideoPipeline", batches=True, **_LTX),
    "LTX": Family(**_LTX),
    "Latte": Family(native_fps=8, size_multiple=8),
    "Mochi": Family(native_fps=30, size_multiple=16, max_frames=163, default_size=(848, 480), batches=True),
    "MotifVideoImage2Video": Family(native_fps=24, text_class="MotifVideoPipeline"),
    "MotifVideo": Family(native_fps=24, image_class="MotifVideoImage2VideoPipeline"),
    "PIA": Family(native_fps=8, frame_rule=FREE, size_multiple=8, max_frames=32, default_size=(512, 512)),
    # It would make a clip of one of its own sizes, and shrink that to the size that was asked.
    "SanaImageToVideo": Family(
        native_fps=16, size_multiple=32, text_class="SanaVideoPipeline", fixed={"use_resolution_binning": False}
    ),
    "SanaWM": Family(refused="a camera path"),
    "Sana": Family(
        native_fps=16, size_multiple=32, image_class="SanaImageToVideoPipeline", fixed={"use_resolution_binning": False}
    ),
    "SkyReelsV2DiffusionForcingPipeline": Family(
        native_fps=24,
        size_multiple=16,
        max_frames=97,
        image_class="SkyReelsV2DiffusionForcingImageToVideoPipeline",
        exact_components=("vae",),
    ),
    "SkyReels": Family(native_fps=24, size_multiple=16, max_frames=121, exact_components=("vae",)),
    "StableVideoDiffusion": Family(native_fps=7, frame_rule=FREE, size_multiple=64, max_frames=25),
    "TextToVideoSD": Family(
        native_fps=8,
        frame_rule=FREE,
        size_multiple=8,
        default_size=(256, 256),
        max_frames=64,
        video_class="VideoToVideoSDPipeline",
        batches=True,
    ),
    "TextToVideoZero": Family(refused="a model of still images, which it animates by moving noise"),
    "WanPipeline": Family(
        native_fps=16,
        max_frames=121,
        image_class="WanImageToVideoPipeline",
        image_flag="expand_timesteps",
        video_class="WanVideoToVideoPipeline",
        batches=True,
        exact_components=("vae",),
    ),
    "Wan": Family(native_fps=16, max_frames=121, exact_components=("vae",)),
}


def family_of(class_name: str) -> Family:
    """Return the row with the longest name that the class's name begins with; an empty row for an unknown family."""
    names = [name for name in FAMILIES if class_name.startswith(name)]
    return FAMILIES[max(names, key=len)] if names else Family()


def makes_videos(class_name: str) -> bool:
    """Tell by its name alone whether a pipeline makes videos of a text or an image; nothing is imported for that."""
    if not any(class_name.startswith(name) for name in FAMILIES) or not class_name.endswith("Pipeline"):
        return False
    return family_of(class_name).refused is None and not _MAKES_SOMETHING_ELSE.search(class_name)
