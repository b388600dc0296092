"""The order in which an autoencoder's weights lie in memory: channels last, as convolutions on GPUs like it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def why_not(pipeline: Any) -> str | None:
    """Return what keeps a pipeline's autoencoder from lying in another order, or None."""
    autoencoder = getattr(pipeline, "vae", None)
    if hasattr(autoencoder, "_hf_hook") or any("forward" in vars(module) for module in _modules(autoencoder)):
        return "the autoencoder's weights are moved to the device when they are needed"
    return None if _weights(pipeline) else "the model has no autoencoder with convolutions"


@contextmanager
def channels_last(pipeline: Any) -> Iterator[None]:
    """Have the autoencoder's weights lie channels last until the end of the block; they come back as they were."""
    import torch

    weights = _weights(pipeline)
    before = [weight.stride() for weight in weights]
    try:
        for weight in weights:
            form = torch.channels_last if weight.ndim == 4 else torch.channels_last_3d
            weight.data = weight.data.contiguous(memory_format=form)
        yield
    finally:
        for weight, stride in zip(weights, before, strict=True):
            if weight.stride() != stride:
                # To the stride: which program convolves depends on it, and so the last bits of the pictures.
                old = torch.empty_strided(weight.shape, stride, dtype=weight.dtype, device=weight.device)
                weight.data = old.copy_(weight.data)


def _modules(autoencoder: Any) -> list[Any]:
    import torch

    return list(autoencoder.modules()) if isinstance(autoencoder, torch.nn.Module) else []


def _weights(pipeline: Any) -> list[Any]:
    import torch

    convolutions = (torch.nn.Conv2d, torch.nn.Conv3d)
    modules = _modules(getattr(pipeline, "vae", None))
    return [module.weight for module in modules if isinstance(module, convolutions)]
