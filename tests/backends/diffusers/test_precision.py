"""In which precision a model computes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cinelet.backends.diffusers.families import Family
from cinelet.backends.diffusers.model_folder import ModelFolder, open_folder
from cinelet.backends.diffusers.precision import Precision, precisions

WAN = Family(exact_components=("vae",))


@pytest.fixture
def brain_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)


def model(folder: Path, dtype: torch.dtype) -> ModelFolder:
    index = {"_class_name": "WanPipeline", "transformer": ["diffusers", "Model"], "vae": ["diffusers", "Model"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    for name, count in (("transformer", 1000), ("vae", 10)):
        (folder / name).mkdir()
        tensors = {"weight": torch.zeros(count, dtype=dtype), "steps": torch.zeros(3, dtype=torch.int64)}
        save_file(tensors, folder / name / "diffusion_pytorch_model.safetensors")
    return open_folder(folder, "model")


def test_a_processor_computes_exactly_and_in_half_where_there_is_no_room(tmp_path: Path) -> None:
    folder = model(tmp_path, torch.bfloat16)
    assert precisions("cpu", folder, WAN) == (Precision("float32"), Precision("bfloat16"))


def test_other_devices_compute_in_half(tmp_path: Path) -> None:
    folder = model(tmp_path, torch.float32)
    assert precisions("mps", folder, WAN) == (Precision("float16"),)
    assert precisions("xpu", folder, WAN) == (Precision("bfloat16"),)


@pytest.mark.usefixtures("brain_gpu")
@pytest.mark.parametrize(
    ("stored", "name"), [(torch.float32, "bfloat16"), (torch.bfloat16, "bfloat16"), (torch.float16, "float16")]
)
def test_a_gpu_computes_in_the_half_that_a_model_was_made_in(tmp_path: Path, stored: torch.dtype, name: str) -> None:
    assert precisions("cuda", model(tmp_path, stored), Family()) == (Precision(name),)


def test_an_older_gpu_has_one_kind_of_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation=True: including_emulation)
    assert precisions("cuda", model(tmp_path, torch.bfloat16), Family()) == (Precision("float16"),)


@pytest.mark.usefixtures("brain_gpu")
def test_what_a_family_wants_exact_is_exact_where_there_is_room(tmp_path: Path) -> None:
    folder = model(tmp_path, torch.bfloat16)
    exact, half = precisions("cuda:1", folder, WAN)
    assert (exact.of("vae"), exact.of("transformer")) == (torch.float32, torch.bfloat16)
    assert half.of("vae") is torch.bfloat16
    assert exact.footprint(folder).components == {"transformer": 2000 + 24, "vae": 40 + 24}
    assert half.footprint(folder).components == {"transformer": 2000 + 24, "vae": 20 + 24}


def test_the_two_largest_tensors_of_a_component_are_known_over_all_its_files(tmp_path: Path) -> None:
    folder = model(tmp_path, torch.bfloat16)
    part = tmp_path / "transformer" / "diffusion_pytorch_model-00002-of-00002.safetensors"
    save_file({"last": torch.zeros(7, 100, dtype=torch.bfloat16), "bias": torch.zeros(5)}, part)
    assert Precision("bfloat16").footprint(folder).largest_layers == {"transformer": 2 * 1700, "vae": 20 + 24}


def test_quantized_networks_take_a_byte_a_number(tmp_path: Path) -> None:
    folder = replace(model(tmp_path, torch.bfloat16), quantization="int8")
    assert Precision("float32").footprint(folder).components == {"transformer": 1000 + 24, "vae": 40 + 24}
