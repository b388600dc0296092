"""Files of LoRAs: what is taken, and what is refused before anything of it is loaded."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from cinelet.backends.diffusers import lora_file
from cinelet.backends.diffusers.lora_file import open_lora
from cinelet.domain.errors import ValidationError
from tests.backends.diffusers.tiny_lora import write_lora

LAYERS = {"blocks.0.attn1.to_q": (8, 4), "blocks.1.attn1.to_q": (8, 4)}
TENSOR_BYTES = 2 * (2 * 4 + 8 * 2) * 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "style.safetensors"


def refusal(path: Path) -> str:
    with pytest.raises(ValidationError) as refused:
        open_lora(path, "my style")
    assert set(refused.value.details) == {"lora"}
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("The LoRA 'my style' cannot be used: ")
    return str(refused.value)


def with_header(path: Path, header: Any, content: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


def test_a_lora_is_known_by_its_content(path: Path, tmp_path: Path) -> None:
    one = open_lora(write_lora(path, LAYERS), "one")
    other = open_lora(write_lora(tmp_path / "other.safetensors", LAYERS, seed=1), "other")
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(path.read_bytes())
    assert one.tensor_bytes == TENSOR_BYTES
    assert open_lora(copy, "copy").adapter == one.adapter != other.adapter
    write_lora(path, LAYERS, seed=1)
    assert open_lora(path, "one").sha256 == other.sha256


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("transformer.a.lora_A.weight", "transformer.a.lora_B.weight"),
        ("lora_unet_a.lora_down.weight", "lora_unet_a.lora_up.weight"),
        ("unet.a.lora.down.weight", "unet.a.lora.up.weight"),
        ("unet.a.processor.to_q_lora.down.weight", "unet.a.processor.to_q_lora.up.weight"),
    ],
)
def test_the_names_of_every_trainer_are_known(path: Path, down: str, up: str) -> None:
    save_file({down: torch.ones(2, 4), up: torch.ones(8, 2)}, path)
    assert open_lora(path, "any").settings is None


def test_tensors_that_are_none_of_a_lora_are_refused(path: Path) -> None:
    save_file({"transformer.blocks.0.attn1.to_q.weight": torch.ones(4, 4)}, path)
    assert "no tensor of it is named as those of a LoRA are" in refusal(path)


def test_half_a_pair_is_refused(path: Path) -> None:
    save_file({"transformer.a.lora_A.weight": torch.ones(2, 4)}, path)
    assert "a half is missing of transformer.a" in refusal(path)


@pytest.mark.parametrize("up", [torch.ones(8, 3), torch.ones(8), torch.ones((8, 2), dtype=torch.int32)])
def test_halves_that_do_not_fit_each_other_are_refused(path: Path, up: torch.Tensor) -> None:
    save_file({"transformer.a.lora_A.weight": torch.ones(2, 4), "transformer.a.lora_B.weight": up}, path)
    assert "the halves of transformer.a do not fit each other" in refusal(path)


def test_a_file_that_was_cut_off_is_refused(path: Path) -> None:
    write_lora(path, LAYERS)
    os.truncate(path, path.stat().st_size - 1)
    assert "its header tells of" in refusal(path)


def test_bytes_behind_the_tensors_are_refused(path: Path) -> None:
    write_lora(path, LAYERS)
    path.write_bytes(path.read_bytes() + b"#!/bin/sh")
    assert "its header tells of" in refusal(path)


def test_a_pickle_by_the_name_of_a_safetensors_file_is_refused_and_not_run(path: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    path.write_bytes(pickle.dumps(Trap()))
    refusal(path)
    with zipfile.ZipFile(path, "w") as archive:  # as torch.save writes it
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
    refusal(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"", "its header is no JSON"),
        (b"[" * 100_000, "its header is no JSON"),
        ([], "its header is no JSON object"),
        ({"__metadata__": {"a": 1}}, "its metadata are no texts"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}, "no tensor can be as 'a'"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}, "no tensor can be as 'a'"),
        ({"a": {"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 4]}}, "no tensor can be as 'a'"),
        ({"a": {"dtype": "U8", "shape": [10**18] * 9, "data_offsets": [0, 10**162]}}, "no tensor can be as 'a'"),
        ({"a": {"dtype": "U8", "shape": [10**18], "data_offsets": [0, 10**18]}}, "its header tells of"),
        (
            {
                "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]},
            },
            "its tensors overlap",
        ),
    ],
)
def test_a_header_that_lies_is_refused(path: Path, header: Any, why: str) -> None:
    assert why in refusal(with_header(path, header))


def test_a_header_or_a_file_beyond_all_bounds_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(struct.pack("<Q", 2**62))
    assert "a header of 4,611,686,018,427,387,904 bytes" in refusal(path)
    monkeypatch.setattr(lora_file, "MAX_LORA_BYTES", 100)
    write_lora(path, LAYERS)
    assert "at most 100 are loaded" in refusal(path)


def test_what_is_no_file_is_refused(path: Path, tmp_path: Path) -> None:
    assert "No such file" in refusal(path)
    path.mkdir()
    assert "it is no file" in refusal(path)
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    assert "it is no file" in refusal(pipe)


def test_of_the_settings_only_the_strengths_are_taken(path: Path) -> None:
    settings = {
        "transformer.r": 2,
        "transformer.lora_alpha": 4,
        "transformer.rank_pattern": {"^blocks.0.attn1.to_q": 2},
        "transformer.alpha_pattern": {},
        "transformer.use_rslora": False,
        # What PEFT would import, and what would change the model's own weights.
        "transformer.megatron_config": {"a": 1},
        "transformer.megatron_core": "antigravity",
        "transformer.auto_mapping": {"base_model_class": "x", "parent_library": "antigravity"},
        "transformer.init_lora_weights": "pissa",
        "transformer.layer_replication": [[0, 10_000_000]],
        "transformer.target_modules": "(a+)+$",
    }
    write_lora(path, LAYERS, settings=settings)
    found = open_lora(path, "style").settings
    assert found == dict(list(settings.items())[:5])


@pytest.mark.parametrize(
    "settings",
    [
        {"transformer.r": 10**9},
        {"transformer.r": True},
        {"transformer.lora_alpha": "4"},
        {"transformer.lora_alpha": float("inf")},
        {"transformer.rank_pattern": {"(a+)+$": 2}},
        {"transformer.alpha_pattern": {"a": None}},
    ],
)
def test_settings_that_cannot_be_are_refused(path: Path, settings: dict[str, Any]) -> None:
    assert "its setting 'transformer." in refusal(write_lora(path, LAYERS, settings=settings))


def test_settings_that_are_no_object_are_refused(path: Path) -> None:
    save_file({"a.lora_A.weight": torch.ones(1, 1), "a.lora_B.weight": torch.ones(1, 1)}, path,
              {"lora_adapter_metadata": "{"})  # fmt: skip
    assert "its settings are no JSON" in refusal(path)
