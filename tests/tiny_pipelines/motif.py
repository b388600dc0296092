"""Motif-Video: a guider is a component, as in HunyuanVideo 1.5; its text encoder can see."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers

from tests.tiny_pipelines.parts import byte_tokenizer, flow, siglip_images
from tests.tiny_pipelines.wan import wan_autoencoder

_WIDTH = 16


def _text_encoder() -> Any:
    config = transformers.T5Gemma2EncoderConfig(
        text_config={
            "vocab_size": 300,
            "hidden_size": _WIDTH,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "pad_token_id": 3,
            "dropout_rate": 0.0,
        },
        vision_config={
            "hidden_size": _WIDTH,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        mm_tokens_per_image=4,
    )
    return transformers.T5Gemma2Encoder(config, eoi_token_index=2)


def _motif(pipeline: Any) -> Any:
    transformer = diffusers.MotifVideoTransformer3DModel(
        in_channels=33,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_decoder_layers=0,
        patch_size=2,
        patch_size_t=1,
        text_embed_dim=_WIDTH,
        image_embed_dim=_WIDTH,
        rope_axes_dim=(2, 4, 4),
    )
    return pipeline(
        scheduler=flow(shift=5.0),
        vae=wan_autoencoder(),
        text_encoder=_text_encoder(),
        tokenizer=byte_tokenizer(transformers.GemmaTokenizer),
        transformer=transformer,
        guider=diffusers.ClassifierFreeGuidance(guidance_scale=6.0),
        feature_extractor=siglip_images(),
    )


def motif() -> Any:
    """From a text."""
    return _motif(diffusers.MotifVideoPipeline)


def motif_i2v() -> Any:
    """From a picture: the same weights."""
    return _motif(diffusers.MotifVideoImage2VideoPipeline)
