"""The frame counts and picture sizes that a model can make, from its configuration. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cinelet.backends.diffusers.families import Family
from cinelet.backends.diffusers.model_folder import ModelFolder
from cinelet.domain.backend import FrameRule
from cinelet.domain.sizes import SizeRule

FALLBACK_SIZE = (512, 512)


@dataclass(frozen=True, slots=True)
class Grid:
    """Frame counts, and sizes: a multiple and the least side in pixels, or the only ones (width, height) if few.

    lost_frames: of those that a run is asked for, which it does not return.
    """

    frames: FrameRule
    multiple: int
    default_size: tuple[int, int]
    sizes: tuple[tuple[int, int], ...] = ()
    least: int = 0
    lost_frames: int = 0

    @property
    def size_rule(self) -> SizeRule:
        """The sizes alone."""
        return SizeRule(self.multiple, self.sizes, self.least)

    def size_like(self, width: int, height: int) -> tuple[int, int]:
        """Return a size of about the default's area with the shape of a picture of `width` x `height`."""
        if self.sizes:
            return min(self.sizes, key=lambda size: abs(math.log(size[0] / size[1] * height / width)))
        scale = math.sqrt(self.default_size[0] * self.default_size[1] / (width * height))
        rule = self.size_rule
        return rule.nearest_side(width * scale), rule.nearest_side(height * scale)


def grid_of(folder: ModelFolder, family: Family, defaults: Mapping[str, Any]) -> Grid:
    """Work out the grid: the card's word, then the family's, then what the configurations say.

    defaults: of the pipeline's arguments.
    """
    vae = folder.config("vae")
    transformer = folder.config("transformer")
    unet = folder.config("unet")
    spatial = spatial_ratio(vae)
    patch = _last(transformer.get("patch_size")) or 1
    multiple = family.size_multiple or max(16, spatial * patch)
    if transformer:
        multiple = math.lcm(multiple, spatial * patch)
    rule = _frame_rule(folder, family, vae, transformer)
    card = folder.card
    sample = _last(unet.get("sample_size"))
    from_unet = (sample * spatial, sample * spatial) if sample else None
    width, height = defaults.get("width"), defaults.get("height")
    from_signature = (width, height) if isinstance(width, int) and isinstance(height, int) else None
    wanted = card.default_size or from_signature or family.default_size or from_unet or FALLBACK_SIZE
    # This kind of transformer has the picture before the clip, and its latent frame leaves with it.
    lost = temporal_ratio(vae) if transformer.get("image_condition_type") == "latent_concat" else 0
    grid = Grid(rule, multiple, wanted, card.sizes or _tiled_sizes(folder, vae), family.least_side or 0, lost)
    return replace(grid, default_size=grid.size_rule.nearest(*wanted))


def _frame_rule(
    folder: ModelFolder, family: Family, vae: Mapping[str, Any], transformer: Mapping[str, Any]
) -> FrameRule:
    fixed = transformer.get("video_length")
    if isinstance(fixed, int):
        return FrameRule(minimum=fixed, maximum=fixed)
    chunks = transformer.get("chunk_partition")  # in latent frames
    if isinstance(chunks, list) and chunks:
        frames = (sum(chunks) - 1) * temporal_ratio(vae) + 1
        return FrameRule(minimum=frames, maximum=frames)
    rule = family.frame_rule
    if rule is None:
        ratio = temporal_ratio(vae)
        rule = FrameRule(ratio, 1) if ratio > 1 else FrameRule()
    trained = folder.config("unet").get("num_frames")  # Stable Video Diffusion has no other difference to its XT
    return replace(rule, maximum=folder.card.max_frames or trained or family.max_frames or rule.maximum)


def temporal_ratio(vae: Mapping[str, Any]) -> int:
    """Return how many frames share a latent frame, as the autoencoders' own configurations say it."""
    for name in ("scale_factor_temporal", "temporal_compression_ratio", "temporal_scale_factor"):
        if isinstance(vae.get(name), int):
            return int(vae[name])
    if isinstance(vae.get("spatio_temporal_scaling"), list):  # LTX
        return int(2 ** sum(map(bool, vae["spatio_temporal_scaling"])) * (_last(vae.get("patch_size_t")) or 1))
    if isinstance(vae.get("temporal_expansions"), list):  # Mochi
        return math.prod(vae["temporal_expansions"])
    if isinstance(vae.get("temporal_downsample_blocks"), list):  # Allegro
        return int(2 ** sum(map(bool, vae["temporal_downsample_blocks"])))
    return 1


def _tiled_sizes(folder: ModelFolder, vae: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """Return the sizes that Allegro's autoencoder fills: what its tiles do not reach stays black."""
    if folder.components.get("vae", ("", ""))[1] != "AutoencoderKLAllegro":
        return ()
    tile = _last(vae.get("sample_size")) or 320
    lengths = [
        [side for side in range(tile, longest + 1, tile - overlap) if side % 16 == 0]
        for longest, overlap in ((1280, 80), (720, 120))
    ]
    return tuple((width, height) for width in lengths[0] for height in lengths[1])


def spatial_ratio(vae: Mapping[str, Any]) -> int:
    """Return how many pixels share a latent, along one side."""
    for name in ("scale_factor_spatial", "spatial_compression_ratio"):
        if isinstance(vae.get(name), int):
            return int(vae[name])
    if isinstance(vae.get("spatio_temporal_scaling"), list):
        return int((_last(vae.get("patch_size")) or 1) * 2 ** sum(map(bool, vae["spatio_temporal_scaling"])))
    if isinstance(vae.get("spatial_expansions"), list):
        return math.prod(vae["spatial_expansions"])
    if isinstance(vae.get("block_out_channels"), list):
        return int(2 ** (len(vae["block_out_channels"]) - 1))
    return 8


def _last(value: Any) -> int | None:
    """Return an integer, or the last of a list of them."""
    if isinstance(value, list) and value:
        value = value[-1]
    return value if isinstance(value, int) and not isinstance(value, bool) else None
