"""A video model as it lies on the Hub, with more files than are needed; its weights are noise."""

from __future__ import annotations

import json
from typing import Any

MODEL = "org/tiny-video"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
LARGE_BYTES = 300_000


def model_files(**changes: Any) -> dict[str, bytes]:
    """Return the files by their paths; `changes` go into the index."""
    index = {
        "_class_name": "LTXPipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "tokenizer": ["transformers", "T5Tokenizer"],
        "transformer": ["diffusers", "LTXVideoTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLLTXVideo"],
        **changes,
    }
    return {
        "README.md": b"# A model",
        "model_index.json": json.dumps(index).encode(),
        "scheduler/scheduler_config.json": b'{"of": "scheduler"}',
        "tokenizer/spiece.model": b"words",
        "tokenizer/tokenizer_config.json": b'{"of": "tokenizer"}',
        "transformer/config.json": b'{"of": "transformer"}',
        WEIGHTS: bytes(range(256)) * (LARGE_BYTES // 256),
        "transformer/diffusion_pytorch_model.fp16.safetensors": b"half",
        "vae/config.json": b'{"of": "vae"}',
        "vae/diffusion_pytorch_model.bin": b"pickle",
        "vae/diffusion_pytorch_model.safetensors": b"v" * 1000,
        "whole-model.safetensors": b"everything once more",
    }


NEEDED = set(model_files()) - {
    "README.md",
    "transformer/diffusion_pytorch_model.fp16.safetensors",
    "vae/diffusion_pytorch_model.bin",
    "whole-model.safetensors",
}
