"""Every family makes videos in the precision that a GPU would give it: no part meets another's numbers unprepared."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cinelet.backends.diffusers import DiffusersBackend, devices
from cinelet.backends.diffusers.families import family_of
from cinelet.backends.diffusers.quiet import quiet_libraries
from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.request import Task
from cinelet.testing import ContractCase, decoded_frames
from tests.backends.diffusers.gpu_rules import as_on_a_gpu
from tests.backends.diffusers.stand_ins import stand_ins
from tests.conftest import TinyPipeline
from tests.tiny_pipelines import TASKS

FPS = 4
SMALL = {"width": 64, "height": 64, "fps": FPS, "num_inference_steps": 3}
"""Solvers that look back begin to do so with the second of three steps."""
MADE_IN_FLOAT16 = (
    "animatediff",
    "animatediff_pag",
    "animatediff_sdxl",
    "cogvideox",
    "i2vgen_xl",
    "latte",
    "pia",
    "svd",
    "text_to_video_sd",
)
"""Those whose weights, or the ones that are mostly used, are in float16."""
CASES = [(name, "bfloat16") for name in TASKS] + [(name, "float16") for name in MADE_IN_FLOAT16]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[DiffusersBackend]:
    # To look for what a tiny model leaves takes longer than to run it.
    monkeypatch.setattr(devices, "give_back", lambda: None)
    with quiet_libraries(), stand_ins():
        backend = DiffusersBackend(device="cpu")
        yield backend
        asyncio.run(backend.aclose())


@pytest.fixture
def carded(tiny_pipeline: TinyPipeline, tmp_path: Path) -> Any:
    """Return a function that gives a tiny pipeline of few frames a second, with a card."""

    def make(name: str, **card: Any) -> str:
        folder = Path(shutil.copytree(tiny_pipeline(name), tmp_path / name))
        (folder / "cinelet.json").write_text(json.dumps({"native_fps": FPS, **card}))
        return f"local:{folder}"

    return make


def generate(backend: DiffusersBackend, model: str, folder: Path, **fields: Any) -> GeneratedVideo:
    case = ContractCase(model, fields.pop("task", Task.TEXT_TO_VIDEO), SMALL)
    return asyncio.run(backend.generate(case.request(**fields), Context(folder)))


def types_of(backend: DiffusersBackend) -> dict[str, torch.dtype]:
    """Return the type of each component's numbers."""
    assert backend._session is not None
    (loaded,) = backend._session.models._models.values()
    parts = loaded.pipeline.components.items()
    return {name: part.dtype for name, part in parts if isinstance(part, torch.nn.Module) and hasattr(part, "dtype")}


@pytest.mark.parametrize(("name", "half"), CASES)
def test_a_family_makes_videos_in_the_precision_of_a_gpu(
    backend: DiffusersBackend, carded: Any, tmp_path: Path, name: str, half: str
) -> None:
    model = carded(name)
    exact = family_of(json.loads((tmp_path / name / "model_index.json").read_text())["_class_name"]).exact_components
    for task in TASKS[name]:
        with as_on_a_gpu(half=half):
            video = generate(backend, model, tmp_path, task=task)
        assert video.applied["precision"] == half
        assert len(decoded_frames(video.path)) == FPS
        types = types_of(backend)
        assert types == {part: torch.float32 if part in exact else getattr(torch, half) for part in types}


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["animatediff", "cogvideox", "text_to_video_sd", "wan_t2v"])
def test_a_clip_is_made_anew_in_the_precision_of_a_gpu(
    backend: DiffusersBackend, carded: Any, tmp_path: Path, name: str, half: str
) -> None:
    first, second = carded("ltx", default_size=[64, 64]), carded(name)
    with as_on_a_gpu(half=half):
        video = generate(backend, first, tmp_path, upscaler=second, width=128)
    assert video.applied["upscaler"] == second
    assert decoded_frames(video.path).shape == (FPS, 64, 128, 3)


def test_a_clip_goes_on_from_its_last_frames_in_the_precision_of_a_gpu(
    backend: DiffusersBackend, carded: Any, tmp_path: Path
) -> None:
    model = carded("ltx", max_frames=17, continuation_frames=9)
    with as_on_a_gpu(half="bfloat16"):
        video = generate(backend, model, tmp_path, duration=5)
    assert video.applied["windows"] == 2
    assert len(decoded_frames(video.path)) == 5 * FPS
