"""What a run is expected to need, from configurations alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cinelet.backends.diffusers.model_folder import ModelFolder, open_folder
from cinelet.backends.diffusers.working_memory import working_of

GB = 10**9
WAN_TRANSFORMER = {"num_attention_heads": 24, "attention_head_dim": 128, "patch_size": [1, 2, 2]}
WAN22_VAE = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "scale_factor_temporal": 4,
}
"""Of Wan2.2-TI2V-5B, as far as it matters."""


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """Return a function that gives a model of nothing but configurations."""

    def make(*, autoencoder: str = "AutoencoderKLWan", **components: dict[str, Any]) -> ModelFolder:
        classes = {name: autoencoder if name == "vae" else "Model" for name in components}
        index = {"_class_name": "WanPipeline", **{name: ["diffusers", cls] for name, cls in classes.items()}}
        for name, config in components.items():
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "config.json").write_text(json.dumps(config))
        (tmp_path / "model_index.json").write_text(json.dumps(index))
        return open_folder(tmp_path, "model")

    return make


def test_a_large_video_needs_far_more_to_be_decoded_than_to_be_denoised_and_tiles_help(model: Any) -> None:
    folder = model(transformer=WAN_TRANSFORMER, vae=WAN22_VAE)
    working = working_of(folder, size=(1280, 704), frames=121, float_bytes=2, decoder_bytes=4)
    assert 22 * GB < working.decode < 32 * GB, "26 GB were measured, in float32"
    assert 1 * GB < working.denoise < 8 * GB, "8 GB were enough to denoise"
    assert working.decode_tiled < working.decode / 5


def test_needs_grow_with_frames_pixels_precision_and_number(model: Any) -> None:
    folder = model(transformer=WAN_TRANSFORMER, vae=WAN22_VAE)
    small = working_of(folder, size=(640, 352), frames=41, float_bytes=2, decoder_bytes=2)
    for larger in (
        working_of(folder, size=(1280, 704), frames=41, float_bytes=2, decoder_bytes=2),
        working_of(folder, size=(640, 352), frames=41, float_bytes=4, decoder_bytes=4),
    ):
        assert larger.denoise > 1.5 * small.denoise
        assert larger.decode > 1.5 * small.decode
        assert larger.decode_tiled >= small.decode_tiled


def test_some_decoders_hold_all_frames_at_once_and_some_a_few(model: Any) -> None:
    def needs(autoencoder: str, frames: int) -> int:
        vae = {"block_out_channels": [128, 256, 512, 512]}
        folder = model(autoencoder=autoencoder, transformer=WAN_TRANSFORMER, vae=vae)
        return working_of(folder, size=(640, 352), frames=frames, float_bytes=2, decoder_bytes=2).decode

    assert needs("AutoencoderKLMochi", 85) > 1.9 * needs("AutoencoderKLMochi", 43)
    assert needs("AutoencoderKLWan", 85) < 1.1 * needs("AutoencoderKLWan", 43)
    assert needs("NewAutoencoder", 85) > 1.9 * needs("NewAutoencoder", 43), "of which nothing is known"


def test_an_autoencoder_without_tiles_needs_all_its_memory_whatever_is_asked(model: Any) -> None:
    vae = {"block_out_channels": [128, 256, 512, 512]}
    folder = model(autoencoder="AutoencoderKLTemporalDecoder", vae=vae)
    working = working_of(folder, size=(1024, 576), frames=25, float_bytes=2, decoder_bytes=2)
    assert working.decode_tiled == working.decode > 30 * GB


def test_an_older_model_of_convolutions_is_estimated_too(model: Any) -> None:
    unet = {"block_out_channels": [320, 640], "attention_head_dim": 64}
    vae = {"block_out_channels": [128, 256, 512, 512]}
    folder = model(autoencoder="AutoencoderKL", unet=unet, vae=vae)
    working = working_of(folder, size=(576, 320), frames=24, float_bytes=2, decoder_bytes=2)
    assert 0.1 * GB < working.denoise < 4 * GB
    assert 6.8 * GB < working.decode < 9 * GB, "6.8 GB were counted"


def test_a_model_that_says_nothing_of_itself_is_no_error(model: Any) -> None:
    working = working_of(model(), size=(64, 64), frames=9, float_bytes=4, decoder_bytes=4)
    assert working.denoise > 0
    assert working.decode >= working.decode_tiled > 0


def test_what_lies_beside_a_run_is_needed_in_each_of_its_parts(model: Any) -> None:
    alone = working_of(
        model(transformer=WAN_TRANSFORMER, vae=WAN22_VAE), size=(64, 64), frames=9, float_bytes=4, decoder_bytes=4
    )
    beside = alone.beside(1000)
    assert (beside.denoise, beside.decode, beside.decode_tiled) == (
        alone.denoise + 1000, alone.decode + 1000, alone.decode_tiled + 1000,
    )  # fmt: skip
