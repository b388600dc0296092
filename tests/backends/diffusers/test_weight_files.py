"""Which files of a repository are downloaded, and in which variant."""

from __future__ import annotations

import pytest

from cinelet.backends.diffusers.weight_files import choose_variant, needed_files
from cinelet.domain.errors import ModelUnsupportedError

PLAIN = ["config.json", "diffusion_pytorch_model.safetensors"]
SHARDED = ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"]
HALF = ["config.json", "diffusion_pytorch_model.fp16.safetensors"]
HALF_SHARDED = ["model.fp16-00001-of-00002.safetensors", "model-00002-of-00002.fp16.safetensors"]


@pytest.mark.parametrize(
    ("components", "variant"),
    [
        ({"vae": PLAIN, "text_encoder": SHARDED}, None),
        ({"vae": PLAIN + HALF, "text_encoder": SHARDED + HALF_SHARDED}, None),
        ({"vae": PLAIN, "text_encoder": HALF_SHARDED}, "fp16"),
        ({"vae": HALF, "text_encoder": HALF_SHARDED}, "fp16"),
        ({"vae": ["model.bf16.safetensors", "model.fp16.safetensors"]}, "bf16"),
        ({"vae": ["model.bf16.safetensors", "model.fp16.safetensors"], "unet": HALF}, "fp16"),
        ({"vae": ["model.bf16.safetensors"], "unet": HALF}, "bf16"),
        ({"scheduler": ["scheduler_config.json"]}, None),
        ({}, None),
    ],
)
def test_plain_weights_are_preferred_to_a_variant(components: dict[str, list[str]], variant: str | None) -> None:
    assert choose_variant(components) == variant


def test_configurations_vocabularies_and_one_variant_of_the_weights_are_needed() -> None:
    listed = [
        "README.md",
        "cinelet.json",
        "model_index.json",
        "ltx-video-2b.safetensors",
        "handler.py",
        "vae/config.json",
        "vae/diffusion_pytorch_model.bin",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.non_ema.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "vae/flax_model.msgpack",
        "vae/vae.py",
        "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model.safetensors.index.json",
        "tokenizer/merges.txt",
        "tokenizer/spiece.model",
        "tokenizer/more/nested.json",
        "tokenizer/../../outside.json",
        "other_unet/diffusion_pytorch_model.safetensors",
    ]
    needed = needed_files(listed, ["vae", "text_encoder", "tokenizer"], weights=True, reference="org/name")
    assert needed == (
        "cinelet.json",
        "model_index.json",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model.safetensors.index.json",
        "tokenizer/merges.txt",
        "tokenizer/spiece.model",
    )


def test_a_component_without_the_variant_of_the_others_keeps_its_plain_weights() -> None:
    listed = ["vae/model.fp16.safetensors", "unet/model.safetensors"]
    assert needed_files(listed, ["vae", "unet"], weights=True, reference="org/name") == tuple(listed)


def test_capabilities_need_configurations_only() -> None:
    listed = ["model_index.json", "vae/config.json", "vae/model.safetensors", "tokenizer/vocab.json", "x/config.json"]
    needed = needed_files(listed, ["vae", "tokenizer"], weights=False, reference="org/name")
    assert needed == ("model_index.json", "vae/config.json")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.ckpt", "weights.PT", "model.pth"])
def test_a_component_with_pickle_weights_only_is_refused_by_name(name: str) -> None:
    with pytest.raises(ModelUnsupportedError, match=r"org/name: the weights of vae are in pickle files.*safetensors"):
        needed_files([f"vae/{name}"], ["vae"], weights=True, reference="org/name")
