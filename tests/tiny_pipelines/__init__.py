"""Real diffusers pipelines with random weights of a few kilobytes: one of each kind of video model.

Sizes are chosen so that 64x64 pixels are a handful of latents. This module itself imports nothing heavy.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

from cinelet.domain.request import Task

TEXT, IMAGE = (Task.TEXT_TO_VIDEO,), (Task.IMAGE_TO_VIDEO,)
BOTH = TEXT + IMAGE

TASKS: Mapping[str, tuple[Task, ...]] = {
    "animatediff": TEXT,
    "cogvideox": TEXT,
    "cogvideox_i2v": IMAGE,
    "hunyuan_video": TEXT,
    "hunyuan_video15": TEXT,
    "i2vgen_xl": IMAGE,
    "latte": TEXT,
    "ltx": BOTH,
    "mochi": TEXT,
    "svd": IMAGE,
    "text_to_video_sd": TEXT,
    "wan22_moe": TEXT,
    "wan_i2v": IMAGE,
    "wan_t2v": TEXT,
    "wan_ti2v": BOTH,
}
"""Every tiny pipeline, and what it can do."""

_MODULES = ("hunyuan", "transformers3d", "unets", "wan")


def build(name: str, folder: Path) -> None:
    """Write a pipeline as `save_pretrained` does; the same bytes each time."""
    import torch

    modules = [importlib.import_module(f"{__name__}.{module}") for module in _MODULES]
    make = next(getattr(module, name) for module in modules if hasattr(module, name))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = make()
    pipeline.save_pretrained(folder, safe_serialization=True)
