"""Real diffusers pipelines with random weights of a few kilobytes: one of each kind of video model.

Sizes are chosen so that 64x64 pixels are a handful of latents. This module itself imports nothing heavy.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path

from cinelet.domain.request import Task

TEXT, IMAGE = (Task.TEXT_TO_VIDEO,), (Task.IMAGE_TO_VIDEO,)
BOTH = TEXT + IMAGE

TASKS: Mapping[str, tuple[Task, ...]] = {
    "allegro": TEXT,
    "animatediff": TEXT,
    "animatediff_pag": TEXT,
    "animatediff_sdxl": TEXT,
    "anyflow": TEXT,
    "anyflow_far": TEXT,
    "chronoedit": IMAGE,
    "cogvideox": TEXT,
    "cogvideox_i2v": IMAGE,
    "cosmos2_5": BOTH,
    "cosmos2_video": IMAGE,
    "cosmos3": BOTH,
    "cosmos_text": TEXT,
    "cosmos_video": IMAGE,
    "easyanimate": TEXT,
    "framepack": IMAGE,
    "helios": BOTH,
    "helios_pyramid": BOTH,
    "hunyuan_skyreels_i2v": IMAGE,
    "hunyuan_video": TEXT,
    "hunyuan_video15": TEXT,
    "hunyuan_video15_i2v": IMAGE,
    "hunyuan_video_i2v": IMAGE,
    "i2vgen_xl": IMAGE,
    "kandinsky5": TEXT,
    "kandinsky5_i2v": IMAGE,
    "kandinsky6": BOTH,
    "latte": TEXT,
    "ltx": BOTH,
    "ltx2": BOTH,
    "ltx2_condition": BOTH,
    "ltx2_i2v": BOTH,
    "ltx_condition": BOTH,
    "ltx_i2v": BOTH,
    "ltx_long": BOTH,
    "mochi": TEXT,
    "motif": BOTH,
    "motif_i2v": BOTH,
    "pia": IMAGE,
    "sana_i2v": BOTH,
    "sana_video": BOTH,
    "skyreels_v2": TEXT,
    "skyreels_v2_df": BOTH,
    "skyreels_v2_df_i2v": IMAGE,
    "skyreels_v2_i2v": IMAGE,
    "svd": IMAGE,
    "text_to_video_sd": TEXT,
    "wan22_moe": TEXT,
    "wan_i2v": IMAGE,
    "wan_t2v": TEXT,
    "wan_ti2v": BOTH,
    "wan_vace": TEXT,
}
"""Every tiny pipeline, and what it can do."""

KINDS = (
    "animatediff",
    "cogvideox",
    "cogvideox_i2v",
    "hunyuan_video",
    "hunyuan_video15",
    "i2vgen_xl",
    "latte",
    "ltx",
    "mochi",
    "svd",
    "text_to_video_sd",
    "wan22_moe",
    "wan_i2v",
    "wan_t2v",
    "wan_ti2v",
)
"""One of each kind: those that differ in how a caller meets them."""

ARCHITECTURES = (
    *KINDS,
    "allegro",
    "cosmos3",
    "easyanimate",
    "helios",
    "hunyuan_video15_i2v",
    "kandinsky5",
    "ltx2",
    "motif",
    "sana_video",
    "skyreels_v2_df",
)
"""One of each architecture: those that differ in their parts. Their siblings run in the trials of every family."""

_MODULES = (
    "autoencoders3d",
    "cosmos",
    "hunyuan",
    "hunyuan15",
    "kandinsky",
    "ltx2",
    "motif",
    "motion",
    "sana",
    "transformers3d",
    "unets",
    "wan",
    "wan_relatives",
)
_PROCESSORS = {
    "kandinsky5": "Qwen2VLProcessor",
    "kandinsky5_i2v": "Qwen2VLProcessor",
    "kandinsky6": "Qwen2_5_VLProcessor",
}
"""What the real models have for a tokenizer: without torchvision it can be named, and not made."""


def build(name: str, folder: Path) -> None:
    """Write a pipeline as `save_pretrained` does; the same bytes each time."""
    import torch

    from cinelet.backends.diffusers.quiet import quiet_libraries

    with quiet_libraries(), torch.random.fork_rng(devices=[]):
        modules = [importlib.import_module(f"{__name__}.{module}") for module in _MODULES]
        make = next(getattr(module, name) for module in modules if hasattr(module, name))
        torch.manual_seed(0)
        make().save_pretrained(folder, safe_serialization=True)
    if name in _PROCESSORS:
        index = json.loads((folder / "model_index.json").read_text())
        index["tokenizer"] = ["transformers", _PROCESSORS[name]]
        (folder / "model_index.json").write_text(json.dumps(index, indent=2))
