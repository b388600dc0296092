"""LTX-2: frames and sound in one network, joined to Gemma 3 by two connectors."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder

from tests.tiny_pipelines.parts import byte_tokenizer, flow

_WIDTH = 8
_LAYERS = 2


def _text_encoder() -> Any:
    config = transformers.Gemma3Config(
        text_config={
            "vocab_size": 300,
            "hidden_size": _WIDTH,
            "intermediate_size": 16,
            "num_hidden_layers": _LAYERS,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "pad_token_id": 3,
        },
        vision_config={
            "hidden_size": 8,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        mm_tokens_per_image=4,
    )
    return transformers.Gemma3ForConditionalGeneration(config)


def _transformer() -> Any:
    return diffusers.LTX2VideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        patch_size=1,
        patch_size_t=1,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        audio_in_channels=4,
        audio_out_channels=4,
        audio_num_attention_heads=2,
        audio_attention_head_dim=4,
        audio_cross_attention_dim=8,
        num_layers=2,
        caption_channels=_WIDTH,
        rope_double_precision=False,
    )


def _connectors() -> Any:
    return LTX2TextConnectors(
        caption_channels=_WIDTH,
        text_proj_in_factor=_LAYERS + 1,
        video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=4,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=None,
        audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=4,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=None,
        connector_rope_base_seq_len=32,
        rope_double_precision=False,
    )


def _autoencoder() -> Any:
    return diffusers.AutoencoderKLLTX2Video(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(4, 8, 16, 32),
        decoder_block_out_channels=(4, 8, 16),
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 4,
        upsample_residual=(False,) * 3,
        encoder_causal=True,
        decoder_causal=False,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )


def _sound() -> dict[str, Any]:
    audio_autoencoder = diffusers.AutoencoderKLLTX2Audio(
        base_channels=4,
        output_channels=2,
        ch_mult=(1,),
        num_res_blocks=1,
        attn_resolutions=None,
        in_channels=2,
        resolution=32,
        latent_channels=2,
        norm_type="pixel",
        causality_axis="height",
        mid_block_add_attention=False,
        sample_rate=16000,
        mel_hop_length=160,
        mel_bins=8,
    )
    vocoder = LTX2Vocoder(
        in_channels=16,
        hidden_channels=32,
        out_channels=2,
        upsample_kernel_sizes=[4, 4],
        upsample_factors=[2, 2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
        output_sampling_rate=16000,
    )
    return {"audio_vae": audio_autoencoder, "vocoder": vocoder}


def _ltx2(pipeline: Any) -> Any:
    return pipeline(
        scheduler=flow(),
        vae=_autoencoder(),
        **_sound(),
        text_encoder=_text_encoder(),
        tokenizer=byte_tokenizer(transformers.GemmaTokenizer),
        connectors=_connectors(),
        transformer=_transformer(),
    )


def ltx2() -> Any:
    """From a text; the same weights start from a picture."""
    return _ltx2(diffusers.LTX2Pipeline)


def ltx2_i2v() -> Any:
    """LTX-2, saved as its image pipeline."""
    return _ltx2(diffusers.LTX2ImageToVideoPipeline)


def ltx2_condition() -> Any:
    """LTX-2, saved as the pipeline that takes pictures anywhere in the clip, or none."""
    return _ltx2(diffusers.LTX2ConditionPipeline)
