"""The latents of a run: what a scheduler step gives, as pictures of the model's own kind.

Families keep the same numbers in different orders; which one it is follows from the shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_RATIOS = ("vae_spatial_compression_ratio", "vae_scale_factor_spatial", "vae_spatial_scale_factor", "vae_scale_factor")


@dataclass(frozen=True, slots=True)
class LatentSpace:
    """What is known of a pipeline's latents. ratio: pixels of a side for each latent. mean, scale: of each channel."""

    channels: int
    ratio: int
    mean: Any
    scale: Any

    def normalised(self, latents: Any) -> Any:
        """Return what an autoencoder gave as the model sees it. latents: channels last."""
        return (latents - self.mean) * self.scale


def latent_space(pipeline: Any) -> LatentSpace | None:
    """Return what the autoencoder's settings say, or None where they say too little."""
    import torch

    vae = getattr(pipeline, "vae", None)
    settings = getattr(vae, "config", None)
    if vae is None or settings is None:
        return None
    channels = _first(settings, "z_dim", "latent_channels", "z_channels")
    ratio = next(
        (int(value) for name in _RATIOS if isinstance(value := getattr(pipeline, name, None), (int, float))),
        8,
    )
    if channels is None:
        return None

    def of_channels(name: str, default: float) -> Any:
        # A setting of some autoencoders, a buffer of others.
        value = settings.get(name)
        value = getattr(vae, name, None) if value is None else value
        if value is None:
            return torch.full((channels,), default)
        return torch.as_tensor(value, dtype=torch.float32, device="cpu").flatten()

    mean = of_channels("latents_mean", float(settings.get("shift_factor") or 0))
    deviation = of_channels("latents_std", 1)
    factor = settings.get("scaling_factor")
    scale = (float(factor) if isinstance(factor, (int, float)) else 1.0) / deviation
    if mean.numel() != channels or scale.numel() != channels:
        return None
    return LatentSpace(channels, ratio, mean, scale)


def middle_frames(latents: Any, space: LatentSpace, *, size: tuple[int, int], count: int, pipeline: Any) -> list[Any]:
    """Return the middle frame of each of `count` videos, [height, width, channels]; none where the order is not known.

    size: of the video, (width, height) in pixels.
    """
    height, width = -(-size[1] // space.ratio), -(-size[0] // space.ratio)
    if latents.ndim == 3:
        latents = _unpacked(latents, space, height, width, pipeline)
        if latents is None:
            return []
    if latents.ndim == 4 and latents.shape[1] == space.channels and latents.shape[0] % count == 0:
        # The frames of all videos one after the other.
        latents = latents.unflatten(0, (count, -1)).transpose(1, 2)
    if latents.ndim != 5 or latents.shape[0] != count:
        return []
    orders = {1: (0, 2, 3, 4, 1), 2: (0, 1, 3, 4, 2), 4: (0, 1, 2, 3, 4)}
    for axis, order in orders.items():
        if latents.shape[axis] == space.channels:
            frames = latents.permute(order)
            if _has_shape(frames, height, width):
                return [video[video.shape[0] // 2] for video in frames]
    return []


def _has_shape(frames: Any, height: int, width: int) -> bool:
    """Tell whether frames are as high and wide as the video's are, give or take what a grid adds."""
    return bool(abs(frames.shape[2] - height) <= 1 and abs(frames.shape[3] - width) <= 1)


def _unpacked(latents: Any, space: LatentSpace, height: int, width: int, pipeline: Any) -> Any:
    """Return tokens as [batch, channels, frames, height, width], or None for an order that is not known."""
    count, tokens, values = latents.shape
    patch = int(getattr(pipeline, "transformer_spatial_patch_size", 1) or 1)
    along_time = int(getattr(pipeline, "transformer_temporal_patch_size", 1) or 1)
    each = (height // patch) * (width // patch)
    if values != space.channels * patch * patch * along_time or not each or tokens % each:
        return None
    frames = tokens // each
    apart = latents.reshape(count, frames, height // patch, width // patch, -1, along_time, patch, patch)
    return apart.permute(0, 4, 1, 5, 2, 6, 3, 7).flatten(6, 7).flatten(4, 5).flatten(2, 3)


def _first(settings: Mapping[str, Any], *names: str) -> int | None:
    return next((int(value) for name in names if isinstance(value := settings.get(name), int)), None)
