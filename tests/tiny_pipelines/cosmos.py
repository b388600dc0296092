"""Cosmos 1, 2, 2.5 and 3: worlds from a text, or from a text and a picture."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers

from tests.tiny_pipelines.parts import CHAT_TEMPLATE, byte_tokenizer, flow, flow_unipc, qwen_vl, t5, t5_tokenizer
from tests.tiny_pipelines.wan import wan_autoencoder


class LetAllPass:
    """Stands where Cosmos wants its guardrail, which is a package of its own with weights of its own."""

    def to(self, *_: Any) -> LetAllPass:
        return self

    def check_text_safety(self, _: str) -> bool:
        return True

    def check_video_safety(self, video: Any) -> Any:
        return video


def _transformer(*, inputs: int, outputs: int, text: int = 32, **settings: Any) -> Any:
    return diffusers.CosmosTransformer3DModel(
        in_channels=inputs,
        out_channels=outputs,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        mlp_ratio=2,
        text_embed_dim=text,
        adaln_lora_dim=4,
        max_size=(16, 32, 32),
        patch_size=(1, 2, 2),
        **{
            "concat_padding_mask": True,
            "extra_pos_embed_type": "learnable",
            "rope_scale": (2.0, 1.0, 1.0),
            **settings,
        },
    )


def _autoencoder() -> Any:
    return diffusers.AutoencoderKLCosmos(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        encoder_block_out_channels=(8, 8, 8, 8),
        decode_block_out_channels=(8, 8, 8, 8),
        attention_resolutions=(8,),
        resolution=64,
        num_layers=1,
        patch_size=4,
        patch_type="haar",
        scaling_factor=1.0,
        spatial_compression_ratio=4,
        temporal_compression_ratio=4,
        latents_mean=None,
        latents_std=None,
    )


def _text() -> dict[str, Any]:
    return {"text_encoder": t5(), "tokenizer": t5_tokenizer(), "safety_checker": LetAllPass()}


def _karras() -> Any:
    return diffusers.EDMEulerScheduler(
        sigma_min=0.002, sigma_max=80, sigma_data=0.5, sigma_schedule="karras", rho=7.0, final_sigmas_type="sigma_min"
    )


def cosmos_text() -> Any:
    """Cosmos 1 from a text."""
    return diffusers.CosmosTextToWorldPipeline(
        **_text(), transformer=_transformer(inputs=4, outputs=4), vae=_autoencoder(), scheduler=_karras()
    )


def cosmos_video() -> Any:
    """Cosmos 1 from a text and a picture: a mask says which latent frames are given."""
    return diffusers.CosmosVideoToWorldPipeline(
        **_text(), transformer=_transformer(inputs=5, outputs=4), vae=_autoencoder(), scheduler=_karras()
    )


def cosmos2_video() -> Any:
    """Cosmos 2: Wan's autoencoder instead."""
    return diffusers.Cosmos2VideoToWorldPipeline(
        **_text(),
        transformer=_transformer(inputs=17, outputs=16),
        vae=wan_autoencoder(),
        scheduler=flow(use_karras_sigmas=True),
    )


def cosmos2_5() -> Any:
    """Cosmos 2.5: Qwen2.5-VL reads the prompt, all its layers count; a picture is welcome and not needed."""
    tokenizer = byte_tokenizer(transformers.Qwen2Tokenizer)
    tokenizer.chat_template = CHAT_TEMPLATE
    return diffusers.Cosmos2_5_PredictBasePipeline(
        text_encoder=qwen_vl(width=16),
        tokenizer=tokenizer,
        safety_checker=LetAllPass(),
        transformer=_transformer(
            inputs=17,
            outputs=16,
            use_crossattn_projection=True,
            crossattn_proj_in_channels=32,
            encoder_hidden_states_channels=32,
        ),
        vae=wan_autoencoder(),
        scheduler=flow_unipc(shift=5.0),
    )


def cosmos3() -> Any:
    """Cosmos 3: text and latents in one sequence; sound and actions are left out."""
    tokenizer = byte_tokenizer(transformers.Qwen2Tokenizer, "<|vision_start|>")
    tokenizer.chat_template = CHAT_TEMPLATE
    transformer = diffusers.Cosmos3OmniTransformer(
        head_dim=16,
        hidden_size=32,
        intermediate_size=32,
        latent_channel=16,
        latent_patch_size=2,
        num_attention_heads=2,
        num_hidden_layers=2,
        num_key_value_heads=1,
        patch_latent_dim=64,
        rope_scaling={"mrope_section": [2, 3, 3], "rope_type": "default"},
        vocab_size=300,
    )
    return diffusers.Cosmos3OmniPipeline(
        transformer=transformer,
        text_tokenizer=tokenizer,
        vae=wan_autoencoder(),
        scheduler=flow_unipc(shift=5.0),
        enable_safety_checker=False,
    )
