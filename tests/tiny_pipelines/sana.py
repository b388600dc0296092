"""Sana-Video: linear attention, Gemma 2, and a size that the pipeline would move to one of its own."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers

from tests.tiny_pipelines.parts import byte_tokenizer, flow
from tests.tiny_pipelines.wan import wan_autoencoder


def _sana(pipeline: Any, scheduler: Any) -> Any:
    transformer = diffusers.SanaVideoTransformer3DModel(
        in_channels=16,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=12,
        cross_attention_dim=24,
        caption_channels=8,
        sample_size=8,
        rope_max_seq_len=32,
        qk_norm="rms_norm_across_heads",
    )
    text_encoder = transformers.Gemma2Model(
        transformers.Gemma2Config(
            vocab_size=300,
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            pad_token_id=3,
        )
    )
    return pipeline(
        tokenizer=byte_tokenizer(transformers.GemmaTokenizer),
        text_encoder=text_encoder,
        vae=wan_autoencoder(),
        transformer=transformer,
        scheduler=scheduler,
    )


def sana_video() -> Any:
    """From a text; the frames are called `frames`."""
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0, final_sigmas_type="zero"
    )
    return _sana(diffusers.SanaVideoPipeline, scheduler)


def sana_i2v() -> Any:
    """From a picture: weights that make clips of a text as well."""
    return _sana(diffusers.SanaImageToVideoPipeline, flow(shift=8.0))
