"""How much speed a generation gets: what the operator set, and what follows from it for one request.

Imports no torch, and knows nothing of a loaded pipeline: what a family cannot do is found out in `acceleration`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from cinelet.domain.errors import ValidationError
from cinelet.domain.request import Quality
from cinelet.domain.result import Adjustment

Switch = Literal["auto", "on", "off"]
StepCache = Literal["auto", "off", "first-block", "taylorseer", "pab", "fastercache", "guidance"]
Attention = Literal["auto", "native", "flash", "sage", "xformers", "flex", "cudnn", "efficient", "math"]
Quantization = Literal["none", "int8", "fp8"]

LEAST_CACHED_STEPS = 15
"""With fewer, neighbouring steps differ too much for one to stand for another."""
_DISTILLED = re.compile(r"distill|turbo|lightning|lcm|hyper-?sd|causvid|few-?step|schnell", re.IGNORECASE)
"""In the names of models that were taught to need few steps, each of which then counts."""
_ATTENTION_PACKAGES: Mapping[str, str] = {"flash": "flash_attn", "sage": "sageattention", "xformers": "xformers"}


@dataclass(frozen=True, slots=True)
class SpeedSettings:
    """What the operator set. quantize_balanced: whether quantized weights serve `balanced` as well as `fast`."""

    quality: Quality = "balanced"
    compile: Switch = "auto"
    step_cache: StepCache = "auto"
    attention: Attention = "auto"
    channels_last: Switch = "auto"
    quantization: Quantization = "none"
    quantize_balanced: bool = False
    context_parallel: int = 1

    def check(self) -> None:
        """Raise `ValidationError`, which names the variable, for what cannot be done on this machine."""
        package = _ATTENTION_PACKAGES.get(self.attention)
        if package is not None and importlib.util.find_spec(package) is None:
            raise _refused(
                "ATTENTION", self.attention, f"the package {package} is not installed; install it or use auto"
            )
        if self.quantization != "none" and importlib.util.find_spec("torchao") is None:
            why = "the package torchao is not installed; install it with: pip install 'cinelet[quantization]'"
            raise _refused("QUANTIZATION", self.quantization, why)
        if self.context_parallel > 1 and sys.platform != "linux":
            raise _refused("CONTEXT_PARALLEL", str(self.context_parallel), "devices share a generation on Linux only")

    @property
    def tag(self) -> str | None:
        """A name of all that may change what a seed gives; None for the defaults, whose videos need no other name."""
        changed = [
            f"{field.name}={getattr(self, field.name)}"
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]
        return hashlib.sha256(",".join(changed).encode()).hexdigest()[:12] if changed else None

    def tagged(self, revision: str | None) -> str | None:
        """Return a model's revision with the tag, as the videos of these settings are kept under."""
        return revision if revision is None or self.tag is None else f"{revision}+{self.tag}"


@dataclass(frozen=True, slots=True)
class Speed:
    """What one generation is to have; `insisted` names what was set by somebody rather than chosen by us.

    step_cache: "auto" for the best that the model can have. attention, step_cache, quantization: None for plain ones.
    """

    quality: Quality
    compile: bool = False
    step_cache: StepCache | None = None
    attention: Attention | None = None
    channels_last: bool = False
    quantization: Quantization | None = None
    context_parallel: int = 1
    """Devices that share it."""
    insisted: frozenset[str] = frozenset()
    asked: bool = False
    """Whether the request named the quality."""
    declined: tuple[Adjustment, ...] = ()
    """What the operator set and this request does not allow."""


def choose_speed(
    settings: SpeedSettings,
    quality: Quality | None,
    *,
    device: str,
    steps: int | None,
    reference: str,
    has_loras: bool = False,
) -> Speed:
    """Return what a generation is to have. steps: of the request or the model; None where nobody knows."""
    chosen = quality or settings.quality
    if chosen == "exact":
        return Speed("exact", asked=quality is not None)
    on_cuda = device.startswith("cuda")
    fast = chosen == "fast"
    cache: StepCache | None = settings.step_cache
    if cache == "auto":
        many = steps is None or steps >= LEAST_CACHED_STEPS
        cache = "auto" if fast and many and not _DISTILLED.search(reference) else None
    elif cache == "off":
        cache = None
    quantized = settings.quantization != "none" and (fast or settings.quantize_balanced)
    shared = settings.context_parallel > 1
    declined: tuple[Adjustment, ...] = ()
    if quantized and has_loras:
        quantized = False
        reason = "LoRAs are applied to plain weights"
        declined = (Adjustment("quantization", settings.quantization, None, reason),)
    if shared and has_loras:
        shared = False
        reason = "LoRAs are applied on one device"
        declined = (*declined, Adjustment("context_parallel", settings.context_parallel, None, reason))
    insisted = {
        name
        for name, wanted in (
            ("compile", settings.compile == "on"),
            ("step_cache", settings.step_cache not in {"auto", "off"}),
            ("attention", settings.attention not in {"auto", "native"}),
            ("channels_last", settings.channels_last == "on"),
            ("quantization", quantized),
            ("context_parallel", shared),
        )
        if wanted
    }
    return Speed(
        chosen,
        compile=settings.compile == "on" or (settings.compile == "auto" and on_cuda),
        step_cache=cache,
        attention=settings.attention if settings.attention not in {"auto", "native"} else None,
        channels_last=settings.channels_last == "on" or (settings.channels_last == "auto" and on_cuda),
        quantization=settings.quantization if quantized else None,
        context_parallel=settings.context_parallel if shared else 1,
        insisted=frozenset(insisted),
        asked=quality is not None,
        declined=declined,
    )


def _refused(variable: str, value: str, why: str) -> ValidationError:
    name = f"CINELET_{variable}"
    return ValidationError(f"{name}={value} cannot be used: {why}", {name: why})
