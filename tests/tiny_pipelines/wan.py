"""The Wan family: one architecture, four ways to use it."""

from __future__ import annotations

from typing import Any

import diffusers

from tests.tiny_pipelines.parts import clip_images, clip_vision, flow, t5_tokenizer, umt5


def wan_autoencoder() -> Any:
    return diffusers.AutoencoderKLWan(
        base_dim=3,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],  # diffusers' own spelling
    )


def wan_transformer(*, inputs: int = 16, outputs: int = 16, **settings: Any) -> Any:
    return diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=inputs,
        out_channels=outputs,
        text_dim=32,
        freq_dim=256,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
        **settings,
    )


def wan_t2v() -> Any:
    """Wan 2.1: 4k + 1 frames."""
    return diffusers.WanPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=umt5(),
        vae=wan_autoencoder(),
        scheduler=flow(shift=7.0),
        transformer=wan_transformer(),
    )


def wan22_moe() -> Any:
    """Wan 2.2 A14B: one transformer for the noisy steps, another for the rest."""
    return diffusers.WanPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=umt5(),
        vae=wan_autoencoder(),
        scheduler=flow(shift=3.0),
        transformer=wan_transformer(),
        transformer_2=wan_transformer(),
        boundary_ratio=0.875,
    )


def wan_i2v() -> Any:
    """Wan 2.1 image-to-video: weights of its own."""
    return diffusers.WanImageToVideoPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=umt5(),
        vae=wan_autoencoder(),
        scheduler=flow(shift=7.0),
        transformer=wan_transformer(inputs=36, image_dim=4),
        image_encoder=clip_vision(width=4, projection=False),
        image_processor=clip_images(),
    )


def wan_ti2v() -> Any:
    """Wan 2.2 TI2V 5B: one set of weights for both tasks."""
    autoencoder = diffusers.AutoencoderKLWan(
        base_dim=3,
        z_dim=48,
        in_channels=12,
        out_channels=12,
        is_residual=True,
        patch_size=2,
        latents_mean=[0.0] * 48,
        latents_std=[1.0] * 48,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        scale_factor_spatial=16,
        scale_factor_temporal=4,
        temperal_downsample=[False, True, True],
    )
    return diffusers.WanPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=umt5(),
        vae=autoencoder,
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        transformer=wan_transformer(inputs=48, outputs=48),
        expand_timesteps=True,
    )
