"""Image models with a motion adapter: AnimateDiff and its relatives."""

from __future__ import annotations

from typing import Any

import diffusers

from tests.tiny_pipelines.parts import clip_text, clip_tokenizer, ddim, image_autoencoder

_CHANNELS = (8, 8)


def _unet(**settings: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        block_out_channels=_CHANNELS,
        layers_per_block=1,
        sample_size=8,
        in_channels=4,
        out_channels=4,
        norm_num_groups=2,
        **{
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 8,
            **settings,
        },
    )


def _adapter(**settings: Any) -> Any:
    return diffusers.MotionAdapter(
        block_out_channels=_CHANNELS,
        motion_layers_per_block=1,
        motion_norm_num_groups=2,
        motion_num_attention_heads=4,
        **settings,
    )


def _parts() -> dict[str, Any]:
    return {
        "vae": image_autoencoder(),
        "text_encoder": clip_text(width=8),
        "tokenizer": clip_tokenizer(),
        "scheduler": ddim(beta_schedule="linear"),
    }


def animatediff() -> Any:
    """An image model with a motion adapter; its `__call__` has `**kwargs`."""
    return diffusers.AnimateDiffPipeline(**_parts(), unet=_unet(), motion_adapter=_adapter())


def animatediff_pag() -> Any:
    """AnimateDiff with a second guidance, away from what it draws with its self-attention switched off."""
    return diffusers.AnimateDiffPAGPipeline(**_parts(), unet=_unet(), motion_adapter=_adapter())


def animatediff_sdxl() -> Any:
    """SDXL with a motion adapter: two text encoders, and the size as an input."""
    unet = _unet(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=8 * 6 + 8,
        cross_attention_dim=16,
    )
    return diffusers.AnimateDiffSDXLPipeline(
        **_parts(),
        text_encoder_2=clip_text(width=8, projection=True),
        tokenizer_2=clip_tokenizer(),
        unet=unet,
        motion_adapter=_adapter(use_motion_mid_block=False),
    )


def pia() -> Any:
    """PIA: the picture and how much each frame may differ from it are inputs of the UNet."""
    return diffusers.PIAPipeline(**_parts(), unet=_unet(), motion_adapter=_adapter(conv_in_channels=9))
