"""The models that the specification names, from configurations as the Hub has them and without weights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cinelet.backends.diffusers import DiffusersBackend
from cinelet.backends.diffusers.known_models import KNOWN
from cinelet.domain.backend import Capabilities, FrameRule
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task

TEXT, IMAGE = frozenset({Task.TEXT_TO_VIDEO}), frozenset({Task.IMAGE_TO_VIDEO})

SD_AUTOENCODER = {"block_out_channels": [128, 256, 512, 512], "sample_size": 512, "scaling_factor": 0.18215}
MODELSCOPE: Mapping[str, Any] = {
    "class": "TextToVideoSDPipeline",
    "components": {
        "scheduler": ("diffusers", "DDIMScheduler"),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "unet": ("diffusers", "UNet3DConditionModel"),
        "vae": ("diffusers", "AutoencoderKL"),
    },
    "unet": {"sample_size": 32, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 1024},
    "vae": SD_AUTOENCODER,
}


def stable_video(frames: int) -> Mapping[str, Any]:
    return {
        "class": "StableVideoDiffusionPipeline",
        "components": {
            "feature_extractor": ("transformers", "CLIPImageProcessor"),
            "image_encoder": ("transformers", "CLIPVisionModelWithProjection"),
            "scheduler": ("diffusers", "EulerDiscreteScheduler"),
            "unet": ("diffusers", "UNetSpatioTemporalConditionModel"),
            "vae": ("diffusers", "AutoencoderKLTemporalDecoder"),
        },
        "unet": {"sample_size": 96, "num_frames": frames, "in_channels": 8},
        "vae": {"block_out_channels": [128, 256, 512, 512], "sample_size": 768},
    }


MODELS: Mapping[str, Mapping[str, Any]] = {
    "damo-vilab/text-to-video-ms-1.7b": MODELSCOPE,
    "cerspense/zeroscope_v2_576w": MODELSCOPE,
    "cerspense/zeroscope_v2_XL": MODELSCOPE,
    "stabilityai/stable-video-diffusion-img2vid": stable_video(14),
    "stabilityai/stable-video-diffusion-img2vid-xt": stable_video(25),
}
EXPECTED: Mapping[str, tuple[frozenset[Task], tuple[int, int], int, float, int]] = {
    "damo-vilab/text-to-video-ms-1.7b": (TEXT, (256, 256), 64, 8, 50),
    "cerspense/zeroscope_v2_576w": (TEXT, (576, 320), 24, 8, 50),
    "cerspense/zeroscope_v2_XL": (TEXT, (1024, 576), 24, 8, 50),
    "stabilityai/stable-video-diffusion-img2vid": (IMAGE, (1024, 576), 14, 7, 25),
    "stabilityai/stable-video-diffusion-img2vid-xt": (IMAGE, (1024, 576), 25, 7, 25),
}
"""Tasks, size, most frames of one run, frames a second, steps."""


def write(folder: Path, model: Mapping[str, Any]) -> Path:
    folder.mkdir()
    index = {"_class_name": model["class"], **model["components"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    for name in ("unet", "vae"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(model[name]))
    return folder


def capabilities(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Capabilities:
    from cinelet.backends.diffusers import hub

    monkeypatch.setattr(hub, "download", lambda *_, **__: folder)
    tried = DiffusersBackend(device="cpu")
    try:
        return asyncio.run(tried.capabilities(ModelReference.parse(name)))
    finally:
        asyncio.run(tried.aclose())


@pytest.mark.parametrize("prefix", ["", "local:"])
@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_can_do_follows_from_its_configuration_and_name(
    name: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = capabilities(write(tmp_path / "model", MODELS[name]), prefix + name, monkeypatch)
    tasks, size, frames, fps, steps = EXPECTED[name]
    assert found.tasks == tasks
    assert found.default_size == size
    assert found.frame_rule == FrameRule(maximum=frames)
    assert (found.native_fps, found.default_steps) == (fps, steps)
    assert ("prompt" in found.parameters) == (tasks is TEXT)


def test_a_known_model_that_brings_a_card_is_what_the_card_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "model", MODELSCOPE)
    (folder / "cinelet.json").write_text(json.dumps({"default_size": [448, 256]}))
    found = capabilities(folder, "cerspense/zeroscope_v2_576w", monkeypatch)
    assert found.default_size == (448, 256)


@pytest.mark.parametrize("name", KNOWN)
def test_a_model_is_known_by_a_name_of_the_hub(name: str) -> None:
    assert ModelReference.parse(name).scheme == "hub"
