"""About how much memory a run needs beside the weights, from the configurations alone. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cinelet.backends.diffusers.grid import spatial_ratio, temporal_ratio
from cinelet.backends.diffusers.model_folder import ModelFolder

_TENSORS_OF_A_BLOCK = 24
"""Intermediate values of the width of the model that live at once: queries, keys, values, a feed-forward layer of four
times the width, and those of the second half of guidance."""
_DEFAULT_CHANNELS = 128
_SLACK = 1.25
"""What a GPU needs beside the tensors that are counted: Wan2.2-5B decodes 121 frames of 1280x704 in float32 in 26 GB
untiled, of which tensors are 20.7."""


@dataclass(frozen=True, slots=True)
class _Decoder:
    """What an autoencoder holds at once: values of its last, widest layers, for each frame of those that it decodes.

    frames: decoded at once; None for all. tile: pixels of a side; None where diffusers has no tiles for it.
    """

    tensors: float
    frames: int | None = None
    tile: int | None = 256


_DECODERS: Mapping[str, _Decoder] = {
    "AutoencoderKL": _Decoder(6, tile=512),
    "AutoencoderKLCogVideoX": _Decoder(15, 12),
    "AutoencoderKLHunyuanVideo": _Decoder(9.2, 17),
    "AutoencoderKLHunyuanVideo15": _Decoder(7),
    "AutoencoderKLLTX2Video": _Decoder(2.8, tile=512),
    "AutoencoderKLLTXVideo": _Decoder(6.3, tile=512),
    "AutoencoderKLMagvit": _Decoder(20, 4, tile=512),
    "AutoencoderKLMochi": _Decoder(8.5),
    "AutoencoderKLTemporalDecoder": _Decoder(8, tile=None),
    "AutoencoderKLWan": _Decoder(21, 4),
}
"""Counted by `benchmarks/local_memory.py`; those of LTX2 and Magvit once, by the same means."""
_UNKNOWN_DECODER = _Decoder(8)


@dataclass(frozen=True, slots=True)
class Working:
    """Bytes beside the weights: of a denoising step, of decoding in one piece, and of decoding in tiles."""

    denoise: int
    decode: int
    decode_tiled: int

    def beside(self, size_bytes: int) -> Working:
        """Return what is needed where so many bytes more lie there all the time."""
        return Working(self.denoise + size_bytes, self.decode + size_bytes, self.decode_tiled + size_bytes)


def working_of(
    folder: ModelFolder, *, size: tuple[int, int], frames: int, float_bytes: int, decoder_bytes: int
) -> Working:
    """Estimate a run of `frames` pictures of `size` (width, height). float_bytes, decoder_bytes: of a number."""
    width, height = size
    vae = folder.config("vae") or folder.config("vqvae")
    latents = _pixels(size, spatial_ratio(vae)) * math.ceil(frames / temporal_ratio(vae))
    denoiser = folder.config("transformer") or folder.config("unet")
    patch = denoiser.get("patch_size") or 1
    along_time = denoiser.get("patch_size_t") or 1
    covered = math.prod(patch) if isinstance(patch, list) else patch * patch * along_time
    tokens = latents / max(1, covered)
    denoise = tokens * _width_of(denoiser) * float_bytes * _TENSORS_OF_A_BLOCK
    side = vae.get("patch_size") or 1
    decoder = _DECODERS.get(_class_of_vae(folder), _UNKNOWN_DECODER)
    shown = min(frames, decoder.frames or frames) * width * height / (side * side if isinstance(side, int) else 1)
    at_once = shown * _channels_of(vae) * decoder_bytes * decoder.tensors
    # In the end there are whole pictures, of three colours.
    whole = frames * width * height * 3 * decoder_bytes
    tile = width * height if decoder.tile is None else decoder.tile**2
    decode, tiled = (_SLACK * (part + whole) for part in (at_once, at_once * min(1.0, tile / (width * height))))
    return Working(int(denoise), int(decode), int(tiled))


def _class_of_vae(folder: ModelFolder) -> str:
    _, name = folder.components.get("vae") or folder.components.get("vqvae") or ("", "")
    return name


def _pixels(size: tuple[int, int], ratio: int) -> int:
    return math.ceil(size[0] / ratio) * math.ceil(size[1] / ratio)


def _width_of(denoiser: Mapping[str, Any]) -> int:
    """Return how many values a place has inside the model."""
    heads, each = denoiser.get("num_attention_heads"), denoiser.get("attention_head_dim")
    if isinstance(heads, int) and isinstance(each, int) and "block_out_channels" not in denoiser:
        return heads * each
    for name in ("hidden_size", "model_dim", "dim", "inner_dim"):
        if isinstance(denoiser.get(name), int):
            return int(denoiser[name])
    return _first(denoiser.get("block_out_channels")) or 1024


def _channels_of(vae: Mapping[str, Any]) -> int:
    """Return how many channels the last, widest layers of the decoder have."""
    names = ("decoder_base_dim", "base_dim", "decoder_block_out_channels", "block_out_channels")
    return next((found for name in names if (found := _first(vae.get(name)))), _DEFAULT_CHANNELS)


def _first(value: Any) -> int | None:
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, int) else None
