"""What introspection cannot know about a pipeline: one row a family, the most specific name first.

Sources: the pipelines' documentation and `check_inputs`, and runs of each family (`tests/backends/diffusers`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
    size_multiple: pixels. max_frames: of one run. image_class: the pipeline that makes image-to-video from the same
    weights, if `image_flag` (an entry of the model's index) is None or true there. text_class: the other way round.
    condition_class: the pipeline that continues a clip from its last frames. needs_image: though the signature has a
    default. true_guidance: the argument that makes a negative prompt count. default_size: (width, height).
    refused: what the pipeline needs that a request cannot give, though the signature has defaults for all of it.
    exact_components: those that a GPU computes in float32, where it has the room. batches: whether several prompts in
    one run give what each gives alone.
    """

    native_fps: float | None = None
    frame_rule: FrameRule | None = None
    size_multiple: int | None = None
    max_frames: int | None = None
    image_class: str | None = None
    image_flag: str | None = None
    text_class: str | None = None
    condition_class: str | None = None
    needs_image: bool = False
    true_guidance: str | None = None
    default_size: tuple[int, int] | None = None
    refused: str | None = None
    exact_components: tuple[str, ...] = ()
    batches: bool = False


FAMILIES: dict[str, Family] = {
    "AllegroPipeline": Family(native_fps=15, size_multiple=8, default_size=(1280, 720), max_frames=88),
    "AnimateDiff": Family(
        native_fps=8, frame_rule=FREE, size_multiple=8, max_frames=32, default_size=(512, 512), batches=True
    ),
    "AnimateDiffControlNet": Family(refused="control frames"),
    "AnimateDiffSparseControlNet": Family(refused="control frames"),
    "AnyFlow": Family(native_fps=16, size_multiple=16),
    "ChronoEdit": Family(native_fps=16, size_multiple=16),
    "CogVideoX": Family(native_fps=8, frame_rule=FrameRule(8, 1, 9), size_multiple=16, max_frames=49, batches=True),
    "Cosmos2VideoToWorld": Family(native_fps=16, size_multiple=16, needs_image=True),
    "Cosmos2": Family(native_fps=16, size_multiple=16),
    "Cosmos3": Family(native_fps=24, size_multiple=16),
    "CosmosVideoToWorld": Family(native_fps=30, size_multiple=16, needs_image=True),
    "Cosmos": Family(native_fps=30, size_multiple=16),
    "EasyAnimateControl": Family(refused="a control video"),
    "EasyAnimateInpaint": Family(refused="a video and a mask"),
    "EasyAnimate": Family(native_fps=8, size_multiple=16),
    "Helios": Family(native_fps=24, size_multiple=16),
    "HunyuanVideo15": Family(native_fps=24, size_multiple=16, default_size=(848, 480)),
    "HunyuanVideoFramepack": Family(native_fps=30, size_multiple=16, true_guidance="true_cfg_scale"),
    "Hunyuan": Family(native_fps=24, size_multiple=16, max_frames=129, true_guidance="true_cfg_scale", batches=True),
    "I2VGenXL": Family(native_fps=8, frame_rule=FREE, size_multiple=64, max_frames=16, needs_image=True),
    "Kandinsky": Family(native_fps=24, size_multiple=16),
    "LTX2DFR": Family(refused="key frames of another run"),
    "LTX2HDR": Family(refused="a reference video"),
    "LTX2InContext": Family(refused="a reference video"),
    "LTX2LatentUpsample": Family(refused="a video to enlarge"),
    "LTX2ImageToVideoPipeline": Family(native_fps=24, size_multiple=32, needs_image=True, text_class="LTX2Pipeline"),
    "LTX2": Family(native_fps=24, size_multiple=32, image_class="LTX2ImageToVideoPipeline"),
    "LTXImageToVideoPipeline": Family(
        native_fps=24,
        size_multiple=32,
        max_frames=257,
        needs_image=True,
        text_class="LTXPipeline",
        condition_class="LTXConditionPipeline",
    ),
    "LTXPipeline": Family(
        native_fps=24,
        size_multiple=32,
        max_frames=257,
        image_class="LTXImageToVideoPipeline",
        condition_class="LTXConditionPipeline",
        batches=True,
    ),
    "LTX": Family(native_fps=24, size_multiple=32, max_frames=257, condition_class="LTXConditionPipeline"),
    "Latte": Family(native_fps=8, size_multiple=8),
    "Mochi": Family(native_fps=30, size_multiple=16, max_frames=163, default_size=(848, 480), batches=True),
    "MotifVideoImage2Video": Family(native_fps=24, text_class="MotifVideoPipeline"),
    "MotifVideo": Family(native_fps=24, image_class="MotifVideoImage2VideoPipeline"),
    "PIA": Family(native_fps=8, frame_rule=FREE, size_multiple=8, max_frames=32, default_size=(512, 512)),
    "SanaImageToVideo": Family(native_fps=16, size_multiple=32, text_class="SanaVideoPipeline"),
    "SanaWM": Family(refused="a camera path"),
    "Sana": Family(native_fps=16, size_multiple=32, image_class="SanaImageToVideoPipeline"),
    "SkyReelsV2DiffusionForcingPipeline": Family(
        native_fps=24, size_multiple=16, image_class="SkyReelsV2DiffusionForcingImageToVideoPipeline"
    ),
    "SkyReels": Family(native_fps=24, size_multiple=16, exact_components=("vae",)),
    "StableVideoDiffusion": Family(native_fps=7, frame_rule=FREE, size_multiple=64, max_frames=25),
    "TextToVideoSD": Family(
        native_fps=8, frame_rule=FREE, size_multiple=8, default_size=(256, 256), max_frames=64, batches=True
    ),
    "TextToVideoZero": Family(refused="a model of still images, which it animates by moving noise"),
    "Wan": Family(
        native_fps=16,
        max_frames=121,
        image_class="WanImageToVideoPipeline",
        image_flag="expand_timesteps",
        exact_components=("vae",),
        batches=True,
    ),
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
