"""What grew out of Wan: its autoencoder and text encoder, with transformers and ways of their own."""

from __future__ import annotations

from typing import Any

import diffusers

from tests.tiny_pipelines.parts import clip_images, clip_vision, flow, flow_unipc, t5_tokenizer, umt5
from tests.tiny_pipelines.wan import wan_autoencoder

_SHAPE: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "text_dim": 32,
    "freq_dim": 256,
    "ffn_dim": 32,
    "num_layers": 2,
}


def _text() -> dict[str, Any]:
    return {"tokenizer": t5_tokenizer(), "text_encoder": umt5(), "vae": wan_autoencoder()}


def _skyreels(pipeline: Any, *, inputs: int = 16, image_dim: int | None = None, **parts: Any) -> Any:
    transformer = diffusers.SkyReelsV2Transformer3DModel(
        in_channels=inputs, out_channels=16, rope_max_seq_len=32, image_dim=image_dim, **_SHAPE
    )
    return pipeline(**_text(), scheduler=flow_unipc(shift=8.0), transformer=transformer, **parts)


def skyreels_v2() -> Any:
    """SkyReels-V2: Wan 2.1 with 24 frames a second."""
    return _skyreels(diffusers.SkyReelsV2Pipeline)


def skyreels_v2_i2v() -> Any:
    """SkyReels-V2 image-to-video: the picture goes in as latents and through a CLIP encoder."""
    return _skyreels(
        diffusers.SkyReelsV2ImageToVideoPipeline,
        inputs=36,
        image_dim=4,
        image_encoder=clip_vision(width=4),
        image_processor=clip_images(),
    )


def skyreels_v2_df() -> Any:
    """Diffusion forcing: each latent frame has a noise level of its own; the same weights start from a picture."""
    return _skyreels(diffusers.SkyReelsV2DiffusionForcingPipeline)


def skyreels_v2_df_i2v() -> Any:
    """Diffusion forcing, saved as its image pipeline."""
    return _skyreels(diffusers.SkyReelsV2DiffusionForcingImageToVideoPipeline)


def wan_vace() -> Any:
    """VACE: control layers beside the transformer's own; without a control video it makes one of grey frames."""
    transformer = diffusers.WanVACETransformer3DModel(
        in_channels=16, out_channels=16, rope_max_seq_len=32, vace_layers=[0], vace_in_channels=96, **_SHAPE
    )
    return diffusers.WanVACEPipeline(**_text(), scheduler=flow(shift=7.0), transformer=transformer)


def chronoedit() -> Any:
    """ChronoEdit: the picture, the picture as the text wants it, and the way between them."""
    transformer = diffusers.ChronoEditTransformer3DModel(
        in_channels=36, out_channels=16, rope_max_seq_len=32, image_dim=4, **_SHAPE
    )
    return diffusers.ChronoEditPipeline(
        **_text(),
        scheduler=flow_unipc(shift=5.0),
        transformer=transformer,
        image_encoder=clip_vision(width=4, projection=False),
        image_processor=clip_images(),
    )


def anyflow() -> Any:
    """AnyFlow: a flow map, which takes any number of steps."""
    transformer = diffusers.AnyFlowTransformer3DModel(in_channels=16, out_channels=16, rope_max_seq_len=32, **_SHAPE)
    return diffusers.AnyFlowPipeline(
        **_text(), scheduler=diffusers.FlowMapEulerDiscreteScheduler(), transformer=transformer
    )


def anyflow_far() -> Any:
    """AnyFlow, chunk after chunk: how many latent frames there are is part of the configuration."""
    transformer = diffusers.AnyFlowFARTransformer3DModel(
        in_channels=16, out_channels=16, rope_max_seq_len=32, chunk_partition=(1, 2, 1, 1), full_chunk_limit=3, **_SHAPE
    )
    return diffusers.AnyFlowFARPipeline(
        **_text(), scheduler=diffusers.FlowMapEulerDiscreteScheduler(), transformer=transformer
    )


def _helios_transformer() -> Any:
    return diffusers.HeliosTransformer3DModel(in_channels=16, out_channels=16, rope_dim=(4, 4, 4), **_SHAPE)


def helios() -> Any:
    """Helios: chunks of 33 frames, each after the history of those before."""
    return diffusers.HeliosPipeline(
        **_text(), scheduler=diffusers.HeliosScheduler(stages=1), transformer=_helios_transformer()
    )


def helios_pyramid() -> Any:
    """Helios in three sizes, the small one first: its steps are a list, one number a size."""
    return diffusers.HeliosPyramidPipeline(
        **_text(), scheduler=diffusers.HeliosScheduler(), transformer=_helios_transformer()
    )
