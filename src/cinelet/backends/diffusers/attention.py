"""Attention by another program than PyTorch's own choice, for one run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cinelet.backends.diffusers.denoiser import denoisers

_NAMES = {"cudnn": "_native_cudnn", "efficient": "_native_efficient", "math": "_native_math"}
"""What diffusers calls those that it does not call as we do."""
_ON_CUDA_ONLY = frozenset({"flash", "sage", "xformers", "cudnn", "efficient"})
_WITHOUT_MASKS = frozenset({"flash", "sage"})
"""Those that cannot leave out the padding of a prompt, which attention to the prompt has to."""
_CHOICE = "_attention_backend"
"""Where diffusers' `set_attention_backend` writes to, which is not used because it sets the whole process as well."""


def why_not(name: str, pipeline: Any, *, device: str) -> str | None:
    """Return what keeps a pipeline from having an attention program, or None."""
    from diffusers.models.attention_dispatch import attention_backend

    if name in _ON_CUDA_ONLY and not device.startswith("cuda"):
        return f"it runs on CUDA only, and the device is {device}"
    if not _processors(pipeline, name):
        return "the model's attention cannot be exchanged"
    try:
        with attention_backend(_NAMES.get(name, name)):  # which looks whether its package is there, and new enough
            return None
    except (RuntimeError, ValueError) as error:
        return f"{(str(error).splitlines() or [''])[0]:.200}"


@contextmanager
def attending(name: str, pipeline: Any) -> Iterator[None]:
    """Have a pipeline's networks use an attention program until the end of the block."""
    from diffusers.models.attention_dispatch import AttentionBackendName

    processors = _processors(pipeline, name)
    before = [getattr(processor, _CHOICE) for processor in processors]
    chosen = AttentionBackendName(_NAMES.get(name, name))
    try:
        for processor in processors:
            setattr(processor, _CHOICE, chosen)
        yield
    finally:
        for processor, was in zip(processors, before, strict=True):
            setattr(processor, _CHOICE, was)


def _processors(pipeline: Any, name: str) -> list[Any]:
    """Return what computes attention in a pipeline's networks, where it lets itself be told how."""
    found = []
    for network in denoisers(pipeline).values():
        for path, module in network.named_modules():
            # Where both kinds are apart, "attn2" is the one that reads the prompt.
            reads_prompt = path.endswith("attn2")
            processor = getattr(module, "processor", None)
            if hasattr(processor, _CHOICE) and not (reads_prompt and name in _WITHOUT_MASKS):
                found.append(processor)
    return found
