"""Loading: which device, what is kept, and what is refused before or while it is loaded."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cinelet.backends.diffusers.devices import choose_device
from cinelet.backends.diffusers.model_cache import ModelCache
from cinelet.backends.diffusers.model_folder import ModelFolder, open_folder
from cinelet.backends.diffusers.quiet import quiet_libraries
from cinelet.domain.errors import ModelUnsupportedError, ProcessingError
from tests.conftest import TinyPipeline

WEIGHTS = "diffusion_pytorch_model.safetensors"


def opened(path: Path) -> ModelFolder:
    return open_folder(path, "local:./model")


def pipeline_of(cache: ModelCache, path: Path) -> Any:
    with quiet_libraries(), cache.lease(opened(path)) as loaded:
        return loaded.pipeline


@pytest.fixture
def copy(tiny_pipeline: TinyPipeline, tmp_path: Path) -> Path:
    """A good model, free to be broken."""
    return Path(shutil.copytree(tiny_pipeline("ltx"), tmp_path / "model"))


def without_a_tensor(file: Path, *, ending: str) -> None:
    tensors = load_file(file)
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(ending)}
    assert len(kept) < len(tensors)
    save_file(kept, file, metadata={"format": "pt"})


@pytest.mark.parametrize("device", ["warp:9", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_with_the_reason_and_what_to_set(device: str) -> None:
    with pytest.raises(ProcessingError, match=f"{device!r} cannot be used here: .*; set CINELET_DEVICE .* to .*cpu$"):
        choose_device(device)


def test_the_device_that_was_chosen_is_taken() -> None:
    assert choose_device("cpu") == "cpu"


def test_a_model_that_was_replaced_on_disk_is_loaded_again(copy: Path) -> None:
    cache = ModelCache(device="cpu")
    first = pipeline_of(cache, copy)
    index = copy / "model_index.json"
    index.write_text(index.read_text() + "\n")
    assert pipeline_of(cache, copy) is not first


def test_weights_in_half_precision_are_computed_in_the_precision_of_the_device(copy: Path) -> None:
    for file in copy.rglob("*.safetensors"):
        save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    pipeline = pipeline_of(ModelCache(device="cpu"), copy)
    modules = [module for module in pipeline.components.values() if isinstance(module, torch.nn.Module)]
    assert len(modules) == 3
    assert {parameter.dtype for module in modules for parameter in module.parameters()} == {torch.float32}
    assert not any(module.training for module in modules)


BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no component": (lambda model: shutil.rmtree(model / "vae"), "vae is not complete, it is missing"),
    "no tokenizer": (lambda model: shutil.rmtree(model / "tokenizer"), "tokenizer is not complete"),
    "no vocabulary": (lambda model: (model / "tokenizer" / "tokenizer.json").unlink(), "its vocabulary is missing"),
    "no weights": (lambda model: (model / "transformer" / WEIGHTS).unlink(), f"no file named {WEIGHTS}"),
    "no configuration": (lambda model: (model / "transformer" / "config.json").unlink(), "config.json"),
    "cut weights": (lambda model: (model / "vae" / WEIGHTS).write_bytes(b"cut"), f"vae/{WEIGHTS} is no complete"),
    "a tensor of diffusers' is missing": (
        lambda model: without_a_tensor(model / "vae" / WEIGHTS, ending="conv_out.conv.weight"),
        "a tensor is missing",
    ),
    "a tensor of transformers' is missing": (
        lambda model: without_a_tensor(model / "text_encoder" / "model.safetensors", ending="final_layer_norm.weight"),
        r"the weights of text_encoder are not complete \(1 tensors are missing, encoder.final_layer_norm.weight",
    ),
    "another model's configuration": (
        lambda model: shutil.copy(model / "vae" / "config.json", model / "transformer" / "config.json"),
        "does not load",
    ),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_model_that_is_not_complete_is_refused_in_one_line_and_not_kept(copy: Path, breakage: str) -> None:
    break_it, complaint = BREAKAGES[breakage]
    break_it(copy)
    cache = ModelCache(device="cpu")
    with pytest.raises(ModelUnsupportedError, match=complaint) as refused:
        pipeline_of(cache, copy)
    assert "\n" not in str(refused.value)
    assert "local:./model" in str(refused.value)
    assert cache.condition().models == ()


def test_a_tokenizer_of_bytes_needs_no_vocabulary(tiny_pipeline: TinyPipeline) -> None:
    pipeline = pipeline_of(ModelCache(device="cpu"), tiny_pipeline("hunyuan_video15"))
    assert type(pipeline.tokenizer_2).__name__ == "ByT5Tokenizer"


def test_libraries_are_quiet_for_as_long_as_one_holds_them_and_then_as_before() -> None:
    loggers = [logging.getLogger("diffusers"), logging.getLogger("transformers")]
    before = [logger.level for logger in loggers]
    with quiet_libraries():
        with quiet_libraries():
            warnings.warn("not for the user", stacklevel=1)
        assert not any(logger.isEnabledFor(logging.ERROR) for logger in loggers)
        warnings.warn("not for the user", stacklevel=1)
    assert [logger.level for logger in loggers] == before
    with pytest.warns(UserWarning, match="heard again"):
        warnings.warn("heard again", stacklevel=1)
