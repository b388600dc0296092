"""Allegro and EasyAnimate: each has an autoencoder that none of the others has."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers

from tests.tiny_pipelines.parts import CHAT_TEMPLATE, byte_tokenizer, flow, t5, t5_tokenizer


def allegro() -> Any:
    """Allegro: its autoencoder takes a clip to pieces."""
    transformer = diffusers.AllegroTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        cross_attention_dim=24,
        sample_width=8,
        sample_height=8,
        sample_frames=8,
        caption_channels=32,
    )
    autoencoder = diffusers.AutoencoderKLAllegro(
        in_channels=3,
        out_channels=3,
        down_block_types=("AllegroDownBlock3D",) * 4,
        up_block_types=("AllegroUpBlock3D",) * 4,
        block_out_channels=(4,) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
        sample_size=128,
    )
    return diffusers.AllegroPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5(),
        vae=autoencoder,
        transformer=transformer,
        scheduler=diffusers.EulerAncestralDiscreteScheduler(),
    )


def easyanimate() -> Any:
    """EasyAnimate 5.1: Qwen2-VL reads the prompt, Magvit makes the frames."""
    transformer = diffusers.EasyAnimateTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=16,
        num_layers=1,
        mmdit_layers=1,
        sample_width=8,
        sample_height=8,
        patch_size=2,
        norm_elementwise_affine=False,
    )
    autoencoder = diffusers.AutoencoderKLMagvit(
        in_channels=3,
        out_channels=3,
        down_block_types=["SpatialDownBlock3D", *["SpatialTemporalDownBlock3D"] * 3],
        up_block_types=["SpatialUpBlock3D", *["SpatialTemporalUpBlock3D"] * 3],
        block_out_channels=(8,) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        spatial_group_norm=False,
    )
    text_encoder = transformers.Qwen2VLForConditionalGeneration(
        transformers.Qwen2VLConfig(
            text_config={
                "vocab_size": 300,
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
            },
            vision_config={"depth": 1, "embed_dim": 16, "num_heads": 2, "hidden_size": 16, "mlp_ratio": 1},
        )
    )
    tokenizer = byte_tokenizer(transformers.Qwen2Tokenizer)
    tokenizer.chat_template = CHAT_TEMPLATE
    return diffusers.EasyAnimatePipeline(
        vae=autoencoder, text_encoder=text_encoder, tokenizer=tokenizer, transformer=transformer, scheduler=flow()
    )
