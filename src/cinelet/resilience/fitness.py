"""Whether a model can do what a request asks for, by what is known of it without loading it."""

from __future__ import annotations

from cinelet.domain.backend import Capabilities
from cinelet.domain.request import VideoRequest

_DECIDING = (
    "negative_prompt", "duration", "num_inference_steps", "guidance_scale", "seed", "width", "height", "lora",
    "upscaler",
)  # fmt: skip
"""Fields that not every model has a use for; who gives one wants it to count."""


def unable(request: VideoRequest, capabilities: Capabilities) -> str | None:
    """Return why a model cannot do it at all, or None where it can or nobody knows."""
    wrong_task = capabilities.tasks and request.task not in capabilities.tasks
    return f"it does no {request.task}" if wrong_task else None


def unsuited(request: VideoRequest, capabilities: Capabilities) -> str | None:
    """Return what a model would have to adjust or ignore of what was given, or None where nothing is known of that."""
    given = request.model_dump(include={*_DECIDING}, exclude_defaults=True)
    if capabilities.parameters:
        ignored = [name for name in _DECIDING if name in given and name not in capabilities.parameters]
        if ignored:
            return f"it does not honour {', '.join(ignored)}"
    multiple = capabilities.size_multiple
    if request.width and request.height and multiple and (request.width % multiple or request.height % multiple):
        return f"it makes sides in steps of {multiple}, not {request.width}x{request.height}"
    return None
