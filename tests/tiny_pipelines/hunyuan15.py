"""HunyuanVideo 1.5: a guider is one of the components, and no argument sets the guidance."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers

from tests.tiny_pipelines.parts import CHAT_TEMPLATE, byte_tokenizer, flow, siglip_images, siglip_vision, t5


def _hunyuan_video15(pipeline: Any, *, task_type: str, **parts: Any) -> Any:
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
        task_type=task_type,
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
    return pipeline(
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
        vae=autoencoder,
        scheduler=flow(shift=7.0),
        text_encoder_2=t5(vocabulary=384),
        tokenizer_2=transformers.ByT5Tokenizer(),
        guider=diffusers.ClassifierFreeGuidance(guidance_scale=6.0),
        **parts,
    )


def hunyuan_video15() -> Any:
    """From a text."""
    return _hunyuan_video15(diffusers.HunyuanVideo15Pipeline, task_type="t2v")


def hunyuan_video15_i2v() -> Any:
    """From a picture, whose size near the native area is the clip's: no argument sets that either."""
    return _hunyuan_video15(
        diffusers.HunyuanVideo15ImageToVideoPipeline,
        task_type="i2v",
        image_encoder=siglip_vision(width=12, image_size=378),
        feature_extractor=siglip_images(image_size=378),
    )
