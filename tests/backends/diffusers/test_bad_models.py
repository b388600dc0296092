"""Models that are none, as somebody meets them: by `local:./directory`, from the request to one line that says why."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cinelet.backends.diffusers import DiffusersBackend
from cinelet.domain.backend import Context
from cinelet.domain.errors import CineletError, ModelNotFoundError, ModelUnsupportedError
from cinelet.domain.request import Task
from cinelet.testing import ContractCase, decoded_frames
from tests.conftest import TinyPipeline

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def backend() -> Iterator[DiffusersBackend]:
    backend = DiffusersBackend(device="cpu")
    yield backend
    asyncio.run(backend.aclose())


@pytest.fixture
def copy(tiny_pipeline: TinyPipeline, tmp_path: Path) -> Path:
    """A good model, free to be broken."""
    return Path(shutil.copytree(tiny_pipeline("ltx"), tmp_path / "model"))


def generate(backend: DiffusersBackend, model: Path, folder: Path, **fields: Any) -> Any:
    folder.mkdir()
    small = {"width": 64, "height": 64, "num_inference_steps": 2}
    case = ContractCase(f"local:{model}", fields.pop("task", Task.TEXT_TO_VIDEO), small)
    return asyncio.run(backend.generate(case.request(**fields), Context(folder)))


def cut(file: Path, *, keep: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])


def in_index(model: Path, **changes: Any) -> None:
    file = model / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def in_config(model: Path, component: str, **changes: Any) -> None:
    file = model / component / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def emptied(model: Path) -> Path:
    shutil.rmtree(model)
    model.mkdir()
    return model


def mapped_to_code(model: Path) -> None:
    in_config(model, "text_encoder", auto_map={"AutoModel": "modeling.Evil"}, architectures=["Evil"])
    (model / "text_encoder" / "modeling.py").write_text("raise SystemExit('run')")


BROKEN: dict[str, tuple[Callable[[Path], object], type[CineletError], str]] = {
    "an empty directory": (
        emptied,
        ModelNotFoundError,
        "no diffusers model, it has no model_index.json",
    ),
    "a directory of pictures": (
        lambda model: (emptied(model) / "cat.png").write_bytes(b"\x89PNG"),
        ModelNotFoundError,
        "no diffusers model",
    ),
    "weights cut in the header": (
        lambda model: cut(model / "vae" / WEIGHTS, keep=0.01),
        ModelUnsupportedError,
        f"vae/{WEIGHTS} is no complete safetensors file",
    ),
    "weights cut at the end": (
        lambda model: cut(model / "transformer" / WEIGHTS, keep=0.9),
        ModelUnsupportedError,
        f"transformer/{WEIGHTS} is no complete safetensors file .* its header tells of",
    ),
    "a class of a newer diffusers": (
        lambda model: in_index(model, _class_name="LTX9Pipeline"),
        ModelUnsupportedError,
        "LTX9Pipeline is no pipeline of diffusers .*update diffusers",
    ),
    "a class of code": (
        lambda model: in_index(model, _class_name=["pipeline", "MyPipeline"]),
        ModelUnsupportedError,
        "foreign code is never run",
    ),
    "a component of code": (
        lambda model: in_index(model, transformer=["modeling_ltx", "MyTransformer"]),
        ModelUnsupportedError,
        "takes 'transformer' from foreign code",
    ),
    "a component of a class that nobody knows": (
        lambda model: in_index(model, transformer=["diffusers", "LTX9Transformer3DModel"]),
        ModelUnsupportedError,
        "LTX9Transformer3DModel.* is no part of a model",
    ),
    "an encoder that would map to code": (
        mapped_to_code,
        ModelUnsupportedError,
        "text_encoder brings Python code .*which is never run",
    ),
    "a pipeline of pictures": (
        lambda model: in_index(model, _class_name="StableDiffusionPipeline"),
        ModelUnsupportedError,
        "StableDiffusionPipeline makes no video from a text or an image",
    ),
    "a configuration of another shape": (
        lambda model: in_config(model, "transformer", num_layers=3),
        ModelUnsupportedError,
        "not complete|does not load",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_is_none_is_refused_in_one_line_and_leaves_nothing(
    backend: DiffusersBackend, copy: Path, tmp_path: Path, name: str
) -> None:
    break_it, kind, complaint = BROKEN[name]
    break_it(copy)
    with pytest.raises(kind, match=complaint) as refused:
        generate(backend, copy, tmp_path / "video")
    assert "\n" not in str(refused.value)
    assert f"local:{copy}" in str(refused.value)
    assert list((tmp_path / "video").iterdir()) == []
    session = backend._session
    assert session is None or not session.models._models


@pytest.mark.parametrize(("name", "task"), [("wan_t2v", Task.IMAGE_TO_VIDEO), ("svd", Task.TEXT_TO_VIDEO)])
def test_a_model_for_the_other_task_says_what_it_can(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, name: str, task: Task
) -> None:
    with pytest.raises(ModelUnsupportedError, match=f"cannot do {task}, only "):
        generate(backend, tiny_pipeline(name), tmp_path / "video", task=task)


def test_a_size_and_a_count_off_the_grid_become_the_nearest_and_are_reported(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path
) -> None:
    video = generate(backend, tiny_pipeline("cogvideox"), tmp_path / "video", width=70, height=55, duration=1.3, fps=8)
    frames = decoded_frames(video.path)
    assert frames.shape == (10, 48, 64, 3)
    assert video.applied["frames_made"] == 17
    (changed,) = [change for change in video.adjustments if change.parameter == "size"]
    assert (changed.requested, changed.applied) == ("70x55", "64x48")
    assert "multiples of 16" in changed.reason
