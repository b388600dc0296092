"""What can be sent, as OpenAPI describes it; a field that is not here is refused by name."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator

from cinelet.domain.lora import MAX_LORAS, MAX_SCALE, Lora, loras_of
from cinelet.domain.model import MAX_REFERENCE_CHARACTERS
from cinelet.domain.request import (
    MAX_FPS,
    MAX_GUIDANCE,
    MAX_PROMPT_CHARACTERS,
    MAX_SEED,
    MAX_SIDE_PIXELS,
    MAX_STEPS,
    MIN_SIDE_PIXELS,
    CacheMode,
    Codec,
    ImageFit,
    Quality,
    QualityPreset,
    Strategy,
)
from cinelet.jobs.webhook_address import MAX_URL_CHARACTERS

PAIRS: dict[str, Any] = {"dependentRequired": {"width": ["height"], "height": ["width"]}}
_BESIDE_THE_VIDEO = {"priority", "webhook_url"}
"""Fields that change nothing of it."""
NUMBERS = (
    "duration", "fps", "num_inference_steps", "guidance_scale", "seed", "width", "height", "max_cost", "max_seconds",
    "priority",
)  # fmt: skip
Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]

_LORA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["path"],
    "properties": {
        "path": {"type": "string", "minLength": 1, "maxLength": MAX_REFERENCE_CHARACTERS, "examples": ["org/name"]},
        "scale": {"type": "number", "minimum": -MAX_SCALE, "maximum": MAX_SCALE, "default": 1},
    },
}
Loras = Annotated[
    list[Lora],
    BeforeValidator(loras_of),
    Field(max_length=MAX_LORAS),
    WithJsonSchema({"type": "array", "maxItems": MAX_LORAS, "items": _LORA}),
]


class Parameters(BaseModel):
    """What a video may be asked to be like. What is left out, the model decides."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra=PAIRS,
    )

    model: str | None = Field(default=None, max_length=500, examples=["embedded", "hf:Wan-AI/Wan2.2-T2V-A14B:fal-ai"])
    """Model reference; the configured default where there is none."""
    negative_prompt: str | None = Field(default=None, max_length=MAX_PROMPT_CHARACTERS)
    """What to avoid."""
    duration: float = Field(default=6, ge=1, allow_inf_nan=False)
    """Seconds."""
    fps: int = Field(default=8, ge=1, le=MAX_FPS)
    """Frames a second."""
    num_inference_steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    """Denoising steps."""
    guidance_scale: float | None = Field(default=None, ge=0, le=MAX_GUIDANCE, allow_inf_nan=False)
    """How closely to follow the prompt."""
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    """Repeats a video; chosen and reported where there is none."""
    width: int | None = Field(default=None, ge=MIN_SIDE_PIXELS, le=MAX_SIDE_PIXELS)
    """Pixels; only together with height."""
    height: int | None = Field(default=None, ge=MIN_SIDE_PIXELS, le=MAX_SIDE_PIXELS)
    """Pixels; only together with width."""
    preset: QualityPreset | None = None
    """Quality of the encoding."""
    codec: Codec = "h264"
    """h264 and av1 give MP4, vp9 gives WebM."""
    quality: Quality | None = None
    """`exact` computes as plain diffusers does, `balanced` and `fast` give up a little for speed; local models only."""
    lora: Loras = []
    """LoRAs to apply: `path` is `org/name`, `org/name/file.safetensors` or a file; local models only."""
    upscaler: str | None = Field(
        default=None, max_length=MAX_REFERENCE_CHARACTERS, examples=["local:cerspense/zeroscope_v2_XL"]
    )
    """Local model that makes the video anew at twice its size."""
    fallback: bool = True
    """Whether another model may do it where a remote one fails."""
    cache: CacheMode = "use"
    """`use` a video that was made before from the same seed, `refresh` to make it anew, `off` to keep none."""
    prefer: Strategy | None = None
    """How the models that can do it are ordered: as named, or by what was measured; by default as configured."""
    max_cost: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Most that a model may be expected to cost, in the currency of the price table."""
    max_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Most seconds that a model may be expected to take, from its begin."""
    priority: int = Field(default=0, ge=-100, le=100)
    """Higher ones go first."""
    webhook_url: str | None = Field(
        default=None, max_length=MAX_URL_CHARACTERS, examples=["https://example.org/hooks/video"]
    )
    """Who is told when it has ended; by default whom the key names."""

    @field_validator(*NUMBERS, mode="before")
    @classmethod
    def _no_truth(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("Input should be a number, not true or false")  # noqa: TRY004  (pydantic's way to refuse)
        return value

    def values(self) -> dict[str, Any]:
        """Return what was sent as fields of a `VideoRequest`."""
        return self.model_dump(exclude=_BESIDE_THE_VIDEO, exclude_unset=True)


class TextToVideo(Parameters):
    """A video from a text."""

    model_config = ConfigDict(
        json_schema_extra={
            **PAIRS,
            "examples": [{"prompt": "a red circle moving left", "duration": 2}],
        }
    )

    prompt: Prompt
    """What the video shows."""


class ImageToVideo(Parameters):
    """A video that begins with an image."""

    prompt: Prompt | None = None
    """What happens in the video."""
    image: str = Field(max_length=64 * 1024 * 1024, examples=["data:image/png;base64,iVBORw0KGgo="])
    """A data URI, or the https address of a PNG, JPEG or WebP file."""
    image_fit: ImageFit = "crop"
    """How the image is fitted to the model's size."""

    def values(self) -> dict[str, Any]:
        """Return what was sent as fields of a `VideoRequest`, but the image."""
        return self.model_dump(exclude={*_BESIDE_THE_VIDEO, "image"}, exclude_unset=True)
