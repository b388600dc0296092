"""Tokenizers, encoders and schedulers that several tiny pipelines share."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers
from tokenizers.pre_tokenizers import ByteLevel

_BYTE_SYMBOLS = sorted(ByteLevel.alphabet())
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NOISE = {"beta_start": 0.00085, "beta_end": 0.012}


def t5_tokenizer() -> Any:
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = [(chr(code), -3.0) for code in range(33, 127)]
    return transformers.T5TokenizerFast(vocab=special + letters, extra_ids=0, model_max_length=64)


def t5(*, width: int = 32, vocabulary: int = 128) -> Any:
    config = transformers.T5Config(
        vocab_size=vocabulary, d_model=width, d_kv=8, d_ff=37, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    return transformers.T5EncoderModel(config)


def umt5() -> Any:
    config = transformers.UMT5Config(
        vocab_size=128, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    return transformers.UMT5EncoderModel(config)


def clip_tokenizer() -> Any:
    symbols = [*_BYTE_SYMBOLS, *(f"{symbol}</w>" for symbol in _BYTE_SYMBOLS), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {symbol: number for number, symbol in enumerate(symbols)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def clip_text(*, width: int, heads: int = 4, projection: bool = False) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=heads,
        max_position_embeddings=77,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
        projection_dim=width,
    )
    return (transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel)(config)


def clip_vision(*, width: int, image_size: int = 32, projection: bool = True) -> Any:
    config = transformers.CLIPVisionConfig(
        hidden_size=width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=image_size,
        intermediate_size=16,
        patch_size=image_size // 4,
    )
    return (transformers.CLIPVisionModelWithProjection if projection else transformers.CLIPVisionModel)(config)


def clip_images() -> Any:
    return transformers.CLIPImageProcessor(crop_size=32, size=32)


def byte_tokenizer(kind: Any, *more: str) -> Any:
    """Return a Llama or Qwen tokenizer that knows bytes, a few special tokens and `more` of them."""
    special = ["<unk>", "<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>", *more]
    vocabulary = {symbol: number for number, symbol in enumerate([*special, *_BYTE_SYMBOLS, "▁"])}
    return kind(vocab=vocabulary, merges=[], unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def shorten(tokenizer: Any, instructions: str, *, tokens: int) -> Any:
    """Let a byte tokenizer read instructions in as many tokens as the real one: pipelines cut that many off."""
    surplus = len(tokenizer(instructions).input_ids) - tokens
    longest = max(instructions.replace("<", ">").split(">"), key=len).strip()  # between the special tokens
    tokenizer.add_tokens([longest[: surplus + 1]])
    assert len(tokenizer(instructions).input_ids) == tokens
    return tokenizer


def siglip_vision(*, width: int, image_size: int = 32) -> Any:
    config = transformers.SiglipVisionConfig(
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=image_size,
        patch_size=image_size // 4,
    )
    return transformers.SiglipVisionModel(config)


def siglip_images(*, image_size: int = 32) -> Any:
    return transformers.SiglipImageProcessor(size={"height": image_size, "width": image_size})


def image_autoencoder() -> Any:
    """Return Stable Diffusion's autoencoder: 8 pixels a latent."""
    return diffusers.AutoencoderKL(
        block_out_channels=(4,) * 4,
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=64,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )


def ddim(**settings: Any) -> Any:
    return diffusers.DDIMScheduler(**NOISE, clip_sample=False, **settings)


def flow(**settings: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(**settings)


def flow_unipc(*, shift: float) -> Any:
    return diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)


def qwen_vl(*, width: int) -> Any:
    """Return Qwen2.5-VL with both its halves; pipelines use the one that reads."""
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 300,
            "hidden_size": width,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
            "rope_theta": 1e6,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": width,
            "fullatt_block_indexes": [0],
        },
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config)
