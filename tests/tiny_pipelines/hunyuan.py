"""HunyuanVideo and HunyuanVideo 1.5: two text encoders each, and two ways to hide the guidance."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers

from tests.tiny_pipelines.parts import CHAT_TEMPLATE, byte_tokenizer, clip_text, clip_tokenizer, flow, t5


def hunyuan_video() -> Any:
    """`guidance_scale` is an input of the network; a negative prompt counts with `true_cfg_scale` only."""
    transformer = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        patch_size_t=1,
        guidance_embeds=True,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
    )
    autoencoder = diffusers.AutoencoderKLHunyuanVideo(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        block_out_channels=(4,) * 4,
        layers_per_block=1,
        norm_num_groups=2,
        scaling_factor=0.476986,
        spatial_compression_ratio=8,
        temporal_compression_ratio=4,
        mid_block_add_attention=True,
    )
    # The pipeline skips the last two layers, so that there must be three.
    text_encoder = transformers.LlamaModel(
        transformers.LlamaConfig(
            vocab_size=300,
            hidden_size=16,
            intermediate_size=37,
            num_attention_heads=4,
            num_hidden_layers=3,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=3,
        )
    )
    return diffusers.HunyuanVideoPipeline(
        text_encoder=text_encoder,
        tokenizer=byte_tokenizer(transformers.LlamaTokenizerFast),
        transformer=transformer,
        vae=autoencoder,
        scheduler=flow(shift=7.0),
        text_encoder_2=clip_text(width=8),
        tokenizer_2=clip_tokenizer(),
    )


def hunyuan_video15() -> Any:
    """No `guidance_scale`: a guider is one of the components."""
    transformer = diffusers.HunyuanVideo15Transformer3DModel(
        in_channels=9,
        out_channels=4,
        num_attention_heads=1,
        attention_head_dim=8,
        num_layers=1,
        num_refiner_layers=1,
        mlp_ratio=2.0,
        patch_size=1,
        patch_size_t=1,
        text_embed_dim=16,
        text_embed_2_dim=32,
        image_embed_dim=12,
        rope_axes_dim=(2, 2, 4),
        target_size=16,
        task_type="t2v",
    )
    autoencoder = diffusers.AutoencoderKLHunyuanVideo15(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(8,) * 4,
        layers_per_block=1,
        spatial_compression_ratio=8,
        temporal_compression_ratio=4,
        downsample_match_channel=False,
        upsample_match_channel=False,
    )
    text_encoder = transformers.Qwen2_5_VLTextModel(
        transformers.Qwen2_5_VLTextConfig(
            vocab_size=300,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=2,
            rope_scaling={"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
            rope_theta=1e6,
        )
    )
    tokenizer = byte_tokenizer(transformers.Qwen2Tokenizer)
    tokenizer.chat_template = CHAT_TEMPLATE
    return diffusers.HunyuanVideo15Pipeline(
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
        vae=autoencoder,
        scheduler=flow(shift=7.0),
        text_encoder_2=t5(vocabulary=384),
        tokenizer_2=transformers.ByT5Tokenizer(),
        guider=diffusers.ClassifierFreeGuidance(guidance_scale=6.0),
    )
