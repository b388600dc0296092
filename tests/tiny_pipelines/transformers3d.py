"""LTX, CogVideoX, Mochi and Latte: a transformer each, with autoencoders and grids of their own."""

from __future__ import annotations

from typing import Any

import diffusers

from tests.tiny_pipelines.parts import flow, image_autoencoder, t5, t5_tokenizer


def _ltx(pipeline: Any) -> Any:
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        patch_size=1,
        patch_size_t=1,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=2,
        caption_channels=32,
    )
    autoencoder = diffusers.AutoencoderKLLTXVideo(
        in_channels=3,
        out_channels=3,
        latent_channels=8,
        block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=(True, True, True, False),
        decoder_spatio_temporal_scaling=(True, True, True, False),
        decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4,
        upsample_factor=(1,) * 4,
        timestep_conditioning=False,
        patch_size=4,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )
    return pipeline(
        scheduler=flow(), vae=autoencoder, text_encoder=t5(), tokenizer=t5_tokenizer(), transformer=transformer
    )


def ltx() -> Any:
    """LTX: 8k + 1 frames, 32 pixels; one set of weights for text, image and the end of a clip."""
    return _ltx(diffusers.LTXPipeline)


def ltx_i2v() -> Any:
    """LTX, saved as its image pipeline."""
    return _ltx(diffusers.LTXImageToVideoPipeline)


def ltx_condition() -> Any:
    """LTX, saved as the pipeline that takes pictures anywhere in the clip, or none."""
    return _ltx(diffusers.LTXConditionPipeline)


def ltx_long() -> Any:
    """LTX, saved as the pipeline of long clips in windows: several bars a run."""
    return _ltx(diffusers.LTXI2VLongMultiPromptPipeline)


def _cogvideox(pipeline: Any, **settings: Any) -> Any:
    transformer = diffusers.CogVideoXTransformer3DModel(
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=2,
        sample_width=8,
        sample_height=8,
        sample_frames=9,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=226,
        **settings,
    )
    autoencoder = diffusers.AutoencoderKLCogVideoX(
        in_channels=3,
        out_channels=3,
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(4,) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    return pipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5(),
        vae=autoencoder,
        transformer=transformer,
        scheduler=diffusers.CogVideoXDDIMScheduler(),
    )


def cogvideox() -> Any:
    """CogVideoX: 8k + 1 frames, at most 49."""
    return _cogvideox(diffusers.CogVideoXPipeline, in_channels=4, num_attention_heads=4, attention_head_dim=8)


def cogvideox_i2v() -> Any:
    """CogVideoX image-to-video: weights of its own."""
    return _cogvideox(
        diffusers.CogVideoXImageToVideoPipeline,
        in_channels=8,
        num_attention_heads=2,
        attention_head_dim=16,
        use_rotary_positional_embeddings=True,
    )


def mochi() -> Any:
    """Mochi: 6k + 1 frames."""
    transformer = diffusers.MochiTransformer3DModel(
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        in_channels=12,
        out_channels=None,
        qk_norm="rms_norm",
        text_embed_dim=32,
        time_embed_dim=4,
        activation_fn="swiglu",
        max_sequence_length=16,
    )
    autoencoder = diffusers.AutoencoderKLMochi(
        latent_channels=12,
        out_channels=3,
        encoder_block_out_channels=(32,) * 4,
        decoder_block_out_channels=(32,) * 4,
        layers_per_block=(1,) * 5,
    )
    return diffusers.MochiPipeline(
        scheduler=flow(), vae=autoencoder, text_encoder=t5(), tokenizer=t5_tokenizer(), transformer=transformer
    )


def latte() -> Any:
    """Latte: a number of frames that is part of the weights."""
    transformer = diffusers.LatteTransformer3DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=24,
        out_channels=8,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        video_length=4,
    )
    return diffusers.LattePipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5(),
        vae=image_autoencoder(),
        transformer=transformer,
        scheduler=diffusers.DDIMScheduler(),
    )
