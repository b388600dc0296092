"""Models around a UNet of their own: Stable Diffusion's descendants that were trained on clips."""

from __future__ import annotations

from typing import Any

import diffusers

from tests.tiny_pipelines.parts import (
    NOISE,
    clip_images,
    clip_text,
    clip_tokenizer,
    clip_vision,
    ddim,
    image_autoencoder,
)


def text_to_video_sd() -> Any:
    """ModelScope's: a 3D UNet, only the legacy step callback."""
    unet = diffusers.UNet3DConditionModel(
        block_out_channels=(4, 8),
        layers_per_block=1,
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=4,
        attention_head_dim=4,
        norm_num_groups=2,
    )
    return diffusers.TextToVideoSDPipeline(
        vae=image_autoencoder(),
        text_encoder=clip_text(width=4, heads=1),
        tokenizer=clip_tokenizer(),
        unet=unet,
        scheduler=ddim(beta_schedule="scaled_linear", set_alpha_to_one=False),
    )


def i2vgen_xl() -> Any:
    """An image model whose signature hides that it needs one, and that draws from the global generator."""
    unet = diffusers.I2VGenXLUNet(
        block_out_channels=(4, 8),
        layers_per_block=1,
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=4,
        attention_head_dim=4,
        num_attention_heads=None,
        norm_num_groups=2,
    )
    return diffusers.I2VGenXLPipeline(
        vae=image_autoencoder(),
        text_encoder=clip_text(width=4, heads=1),
        tokenizer=clip_tokenizer(),
        image_encoder=clip_vision(width=4),
        feature_extractor=clip_images(),
        unet=unet,
        scheduler=ddim(beta_schedule="scaled_linear", set_alpha_to_one=False),
    )


def svd() -> Any:
    """Stable Video Diffusion: an image, no text, a guidance that rises over the frames."""
    unet = diffusers.UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 32),
        layers_per_block=1,
        sample_size=32,
        in_channels=8,
        out_channels=4,
        num_frames=14,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        cross_attention_dim=32,
        num_attention_heads=8,
        projection_class_embeddings_input_dim=96,
        addition_time_embed_dim=32,
    )
    scheduler = diffusers.EulerDiscreteScheduler(
        **NOISE,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        sigma_max=700.0,
        sigma_min=0.002,
        steps_offset=1,
        timestep_spacing="leading",
        timestep_type="continuous",
        use_karras_sigmas=True,
    )
    autoencoder = diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=[32] * 4,
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 4,
        latent_channels=4,
    )
    return diffusers.StableVideoDiffusionPipeline(
        vae=autoencoder,
        image_encoder=clip_vision(width=32, image_size=224),
        unet=unet,
        scheduler=scheduler,
        feature_extractor=clip_images(),
    )
