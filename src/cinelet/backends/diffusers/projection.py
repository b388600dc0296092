"""From latents to colours by one matrix, which the model's own autoencoder tells: coarse, and next to free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cinelet.backends.diffusers.latents import LatentSpace, latent_space

PICTURES = 24
SIDE_PIXELS = 64
FIELDS = 5
"""Colours along a side of a picture, between which it is smooth."""
_RIDGE = 1e-3
"""Keeps the matrix small where there are fewer places than channels."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Colours of latents. matrix: [channels + 1, 3], the last row for no channel."""

    space: LatentSpace
    matrix: Any

    def colours(self, latents: Any) -> Any:
        """Return bytes [height, width, 3] of latents [height, width, channels] as the model sees them."""
        import torch

        found = latents.float().cpu() @ self.matrix[:-1] + self.matrix[-1]
        return (found.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def fit_projection(pipeline: Any) -> Projection | None:
    """Return the matrix for which encoded pictures are nearest to what they were; None without an encoder.

    Raises whatever the autoencoder does. Draws no random numbers that anybody else would.
    """
    import torch

    space = latent_space(pipeline)
    if space is None or not hasattr(pipeline.vae, "encode"):
        return None
    side = max(SIDE_PIXELS, 4 * space.ratio)
    pictures = _pictures(side)
    with torch.no_grad():
        pieces = [_encoded(pipeline, part) for part in pictures.split(1)]  # some autoencoders take no more
    latents = torch.cat([piece.float().cpu() for piece in pieces])
    if latents.shape[1] != space.channels:
        return None
    seen = torch.nn.functional.adaptive_avg_pool2d(pictures, latents.shape[2:])
    places = space.normalised(latents.permute(0, 2, 3, 1).reshape(-1, space.channels)).double()
    given = torch.cat([places, torch.ones(len(places), 1, dtype=torch.float64)], dim=1)
    wanted = seen.permute(0, 2, 3, 1).reshape(-1, 3).double()
    ridge = _RIDGE * len(places) * torch.eye(given.shape[1], dtype=torch.float64)
    matrix = torch.linalg.solve(given.T @ given + ridge, given.T @ wanted)
    return Projection(space, matrix.float())


def _pictures(side: int) -> Any:
    """Return smooth pictures of all colours, [pictures, 3, side, side] from 0 to 1; the same each time."""
    import torch

    numbers = torch.Generator().manual_seed(0)
    fields = torch.rand((PICTURES, 3, FIELDS, FIELDS), generator=numbers)
    smooth = torch.nn.functional.interpolate(fields, (side, side), mode="bicubic", align_corners=True)
    return smooth.clamp(0, 1)


def _encoded(pipeline: Any, pictures: Any) -> Any:
    """Return the latents of pictures, [pictures, channels, height, width]."""
    vae = pipeline.vae
    given = (pictures * 2 - 1).to(device=pipeline._execution_device, dtype=vae.dtype)  # noqa: SLF001  (offloading's)
    try:
        encoded = vae.encode(given.unsqueeze(2))  # as clips of one frame
    except (RuntimeError, ValueError, IndexError, TypeError):  # of pictures, not of clips
        encoded = vae.encode(given)
    if hasattr(encoded, "latent_dist"):
        latents = encoded.latent_dist.mode()
    else:
        latents = encoded.latent if hasattr(encoded, "latent") else encoded.latents
    return latents[:, :, 0] if latents.ndim == 5 else latents
