"""Kandinsky 5 and 6: Qwen2.5-VL reads long instructions before the prompt, CLIP the prompt alone."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
import transformers
from diffusers.pipelines.kandinsky6 import pipeline_kandinsky6_ti2va as kandinsky6_module

from tests.tiny_pipelines.hunyuan import hunyuan_autoencoder
from tests.tiny_pipelines.parts import byte_tokenizer, clip_text, clip_tokenizer, flow, qwen_vl, shorten


def _parts() -> dict[str, Any]:
    return {
        "vae": hunyuan_autoencoder(),
        "scheduler": flow(shift=5.0),
        "text_encoder": qwen_vl(width=16),
        "text_encoder_2": clip_text(width=8),
        "tokenizer_2": clip_tokenizer(),
    }


_SIZES: dict[str, Any] = {
    "in_visual_dim": 4,
    "out_visual_dim": 4,
    "in_text_dim": 16,
    "in_text_dim2": 8,
    "time_dim": 16,
    "patch_size": (1, 2, 2),
    "model_dim": 16,
    "ff_dim": 32,
    "num_text_blocks": 1,
    "num_visual_blocks": 1,
    "axes_dims": (4, 6, 6),
}
"""Of the networks of both."""


def _kandinsky5(pipeline: Any) -> Any:
    transformer = diffusers.Kandinsky5Transformer3DModel(
        **_SIZES,
        visual_cond=True,
    )
    # A new network's gates are closed: no word would reach the picture.
    for parameter in transformer.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    made = pipeline(**_parts(), transformer=transformer, tokenizer=byte_tokenizer(transformers.Qwen2Tokenizer))
    shorten(made.tokenizer, made.prompt_template.partition("{}")[0], tokens=made.prompt_template_encode_start_idx)
    return made


def kandinsky5() -> Any:
    """From a text."""
    return _kandinsky5(diffusers.Kandinsky5T2VPipeline)


def kandinsky5_i2v() -> Any:
    """From a picture, which stays as the first latent frame."""
    return _kandinsky5(diffusers.Kandinsky5I2VPipeline)


def kandinsky6() -> Any:
    """One set of weights for text and picture, and for the sound that goes with the frames."""
    transformer = diffusers.Kandinsky6Transformer3DModel(
        **_SIZES,
        in_audio_dim=4,
        out_audio_dim=4,
        ca_rope=True,
        cross_gates=True,
        fix_modulation=True,
        text_token_padding=True,
        visual_token_type_num_embeddings=2,
    )
    tokenizer = byte_tokenizer(transformers.Qwen2Tokenizer)
    instructions = kandinsky6_module._PROMPT_TEMPLATE.partition("{}")[0]
    shorten(tokenizer, instructions, tokens=kandinsky6_module._QWEN_CROP_START)
    return diffusers.Kandinsky6TI2VAPipeline(
        **_parts(),
        transformer=transformer,
        tokenizer=tokenizer,
        audio_vae=diffusers.MMAudioVAE(
            mel_bins=16,
            latent_channels=4,
            hidden_channels=16,
            layers_per_block=1,
            sample_rate=16000,
            n_fft=64,
            hop_length=16,
        ),
        vocoder=diffusers.MMAudioVocoder(
            num_mels=16, upsample_initial_channel=16, upsample_rates=(4, 4), upsample_kernel_sizes=(8, 8)
        ),
    )
