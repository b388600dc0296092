"""HunyuanVideo: two text encoders, and the guidance as an input of the network; what was made of its weights."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_image2video import DEFAULT_PROMPT_TEMPLATE

from tests.tiny_pipelines.parts import (
    byte_tokenizer,
    clip_text,
    clip_tokenizer,
    flow,
    shorten,
    siglip_images,
    siglip_vision,
)

_SHAPE: dict[str, Any] = {
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 10,
    "num_layers": 1,
    "num_single_layers": 1,
    "num_refiner_layers": 1,
    "patch_size_t": 1,
    "text_embed_dim": 16,
    "pooled_projection_dim": 8,
    "rope_axes_dim": (2, 4, 4),
}


def hunyuan_autoencoder(**settings: Any) -> Any:
    return diffusers.AutoencoderKLHunyuanVideo(
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
        **settings,
    )


def _llama_config() -> Any:
    # The pipeline skips the last two layers, so that there must be three.
    return transformers.LlamaConfig(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=3,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )


def _parts() -> dict[str, Any]:
    return {
        "vae": hunyuan_autoencoder(),
        "scheduler": flow(shift=7.0),
        "text_encoder_2": clip_text(width=8),
        "tokenizer_2": clip_tokenizer(),
    }


def _llama() -> dict[str, Any]:
    return {
        "text_encoder": transformers.LlamaModel(_llama_config()),
        "tokenizer": byte_tokenizer(transformers.LlamaTokenizerFast),
    }


def _transformer(*, inputs: int, guidance: bool = True, **settings: Any) -> Any:
    return diffusers.HunyuanVideoTransformer3DModel(
        in_channels=inputs, patch_size=1, guidance_embeds=guidance, **_SHAPE, **settings
    )


def hunyuan_video() -> Any:
    """`guidance_scale` is an input of the network; a negative prompt counts with `true_cfg_scale` only."""
    return diffusers.HunyuanVideoPipeline(**_parts(), **_llama(), transformer=_transformer(inputs=4))


def hunyuan_skyreels_i2v() -> Any:
    """SkyReels V1: the picture's latents beside the noise, and guidance by a second run of the network."""
    transformer = _transformer(inputs=8, guidance=False)
    return diffusers.HunyuanSkyreelsImageToVideoPipeline(**_parts(), **_llama(), transformer=transformer)


def hunyuan_video_i2v() -> Any:
    """The text encoder sees the picture: it reads 576 pieces of it among the words."""
    special = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<image>"]
    tokenizer = byte_tokenizer(transformers.LlamaTokenizerFast, *special)
    tokenizer.add_tokens(special, special_tokens=True)
    instructions = DEFAULT_PROMPT_TEMPLATE["template"].partition("{}")[0]
    shorten(tokenizer, instructions, tokens=DEFAULT_PROMPT_TEMPLATE["crop_start"])
    vision = transformers.CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=48,
        patch_size=2,
        projection_dim=8,
    )
    text_encoder = transformers.LlavaForConditionalGeneration(
        transformers.LlavaConfig(
            vision_config=vision,
            text_config=_llama_config(),
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    return diffusers.HunyuanVideoImageToVideoPipeline(
        **_parts(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        image_processor=transformers.CLIPImageProcessor(crop_size=48, size=48),
        transformer=_transformer(inputs=9, image_condition_type="latent_concat"),
    )


def framepack() -> Any:
    """Framepack: section after section, the last one first; each counts its steps on a bar of its own."""
    transformer = diffusers.HunyuanVideoFramepackTransformer3DModel(
        in_channels=4,
        patch_size=2,
        guidance_embeds=True,
        image_condition_type=None,
        has_image_proj=True,
        image_proj_dim=8,
        has_clean_x_embedder=True,
        **_SHAPE,
    )
    return diffusers.HunyuanVideoFramepackPipeline(
        **_parts(),
        **_llama(),
        transformer=transformer,
        image_encoder=siglip_vision(width=8),
        feature_extractor=siglip_images(),
    )
