"""The settings of how fast models on this machine run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from cinelet.domain.request import Quality


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Switch = Annotated[Literal["auto", "on", "off"], BeforeValidator(_lower)]


class SpeedVariables(BaseSettings):
    """The variables, as a part of `Config`; what they do is in the diffusers backend."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    cinelet_quality: Annotated[Quality, BeforeValidator(_lower)] = "balanced"
    """What may be given up for speed where a request does not say: `fast`, `balanced` or `exact`."""

    cinelet_compile: Switch = "auto"
    """Whether a local model's blocks are compiled: `on`, `off`, or `auto`: on CUDA. Never for `exact`."""

    cinelet_step_cache: Annotated[
        Literal["auto", "off", "first-block", "taylorseer", "pab", "fastercache", "guidance"], BeforeValidator(_lower)
    ] = "auto"
    """What a step may take from an earlier one: `auto` (in `fast`, from 15 steps on), `off`, or a cache by its name."""

    cinelet_attention: Annotated[
        Literal["auto", "native", "flash", "sage", "xformers", "flex", "cudnn", "efficient", "math"],
        BeforeValidator(_lower),
    ] = "auto"
    """What computes attention; `auto` and `native` leave it to PyTorch. Never for `exact`."""

    cinelet_channels_last: Switch = "auto"
    """Whether an autoencoder's weights lie channels last: `on`, `off`, or `auto`: on CUDA. Never for `exact`."""

    cinelet_quantization: Annotated[Literal["none", "int8", "fp8"], BeforeValidator(_lower)] = "none"
    """How the weights of local models are quantized for `fast`: `none`, `int8` or `fp8`. Never for `exact`."""

    cinelet_quantize_balanced: bool = False
    """Whether quantized weights serve `balanced` as well."""

    cinelet_context_parallel: int = Field(default=1, ge=1, le=64)
    """GPUs that share one generation of a Wan or LTX model. Never for `exact`."""

    @property
    def speed(self) -> dict[str, Any]:
        """The values, as the diffusers backend calls them."""
        return {name.removeprefix("cinelet_"): getattr(self, name) for name in SpeedVariables.model_fields}
