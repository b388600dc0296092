"""Attention by another program than PyTorch's own choice, for one run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cinelet.backends.diffusers.denoiser import denoisers

_NAMES = {"cudnn": "_native_cudnn", "efficient": "_native_efficient", "math": "_native_math"}
"""What diffusers calls those that it does not call as we do."""
_ON_CUDA_ONLY = frozenset({"flash", "sage", "xformers", "cudnn", "efficient"})
_WITHOUT_MASKS = frozenset({"flash", "sage"})
"""Those that fail where a mask tells them what to leave out, as the padding of a prompt."""
_WITHOUT_JOINT_MASKS = _WITHOUT_MASKS | {"xformers"}
"""Those that cannot use the mask of prompt and video in one sequence: xformers would add its yes and no as 1 and 0."""
_MASKS_BATCHES = frozenset({"HunyuanVideoFramepackTransformer3DModel"})
"""Networks that mask where several videos are made at once, which they are not of these."""
_FLAT_MASKS = frozenset({"Kandinsky6Transformer3DModel"})
"""Networks whose masks are [batch, keys], which diffusers' flex takes for [batch, queries]."""
_READS_PROMPT = "attn2"
"""How the paths of attention to the prompt end, where it is apart from that among the parts of the video."""
_CHOICE = "_attention_backend"
"""Where diffusers' `set_attention_backend` writes to, which is not used because it sets the whole process as well."""


def why_not(name: str, pipeline: Any, *, device: str) -> str | None:
    """Return what keeps a pipeline from having an attention program, or None."""
    from diffusers.models.attention_dispatch import attention_backend

    if name in _ON_CUDA_ONLY and not device.startswith("cuda"):
        return f"it runs on CUDA only, and the device is {device}"
    if not _exchangeable(pipeline):
        return "the model's attention cannot be exchanged"
    if not _processors(pipeline, name):
        return f"{name} cannot leave out what this model's attention has to, as the padding of a prompt"
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
    """Return what computes attention in a pipeline's networks, where an attention program can."""
    return [processor for network, path, processor in _exchangeable(pipeline) if _suits(name, network, path, processor)]


def _exchangeable(pipeline: Any) -> list[tuple[Any, str, Any]]:
    """Return what computes attention and lets itself be told how, each with its network and its path therein."""
    return [
        (network, path, module.processor)
        for network in denoisers(pipeline).values()
        for path, module in network.named_modules()
        if hasattr(getattr(module, "processor", None), _CHOICE)
    ]


def _suits(name: str, network: Any, path: str, processor: Any) -> bool:
    """Tell whether a program can compute one attention of a network."""
    only = getattr(processor, "_SUPPORTED_BACKENDS", None)  # AnyFlow's has masks of a kind that one program knows
    if only is not None:
        return name in only
    if name == "flex" and type(network).__name__ in _FLAT_MASKS:
        return False
    if path.endswith(_READS_PROMPT):
        return name not in _WITHOUT_MASKS
    return name not in _WITHOUT_JOINT_MASKS or not _has_joint_masks(network)


def _has_joint_masks(network: Any) -> bool:
    """Tell whether masks reach what in other networks is attention among the parts of the video alone.

    diffusers says so nowhere. Seen in its networks: a mask that one is given goes to the attention to the prompt where
    that is apart, and else to all attention (HunyuanVideo, Motif, Kandinsky 6); SkyReels can make one of its own.
    """
    given = any(name.endswith("attention_mask") for name in inspect.signature(type(network).forward).parameters)
    apart = any(path.endswith(_READS_PROMPT) for path, _ in network.named_modules())
    if type(network).__name__ in _MASKS_BATCHES:
        return False
    return (given and not apart) or int(getattr(network.config, "num_frame_per_block", 1)) > 1
