"""A folder is checked before anything in it is loaded."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from cinelet.backends.diffusers.model_folder import INDEX_NAME, open_folder
from cinelet.backends.diffusers.tensors import footprint
from cinelet.domain.errors import CineletError, ModelNotFoundError, ModelUnsupportedError
from tests.conftest import TinyPipeline

REFERENCE = "local:./model"


@pytest.fixture
def folder(tiny_pipeline: TinyPipeline, tmp_path: Path) -> Path:
    """A good model, free to be broken."""
    return Path(shutil.copytree(tiny_pipeline("ltx"), tmp_path / "model"))


def change_index(folder: Path, **changes: Any) -> None:
    index = json.loads((folder / INDEX_NAME).read_text())
    (folder / INDEX_NAME).write_text(json.dumps({**index, **changes}))


def refusal(folder: Path, kind: type[CineletError] = ModelUnsupportedError) -> str:
    """The one line that refuses a folder, which begins with the reference."""
    with pytest.raises(kind) as refused:
        _ = open_folder(folder, REFERENCE).tensors
    message = str(refused.value)
    assert message.startswith(f"{REFERENCE}: ")
    assert "\n" not in message
    return message


def test_a_good_folder_tells_its_class_components_and_bytes(folder: Path) -> None:
    model = open_folder(folder, REFERENCE)
    assert model.class_name == "LTXPipeline"
    assert model.components["vae"] == ("diffusers", "AutoencoderKLLTXVideo")
    assert model.components["tokenizer"][0] == "transformers"
    on_disk = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    assert 0.8 * on_disk < footprint(model.tensors, float_bytes=4).total < on_disk


def test_components_that_are_not_there_and_plain_settings_are_no_components(folder: Path) -> None:
    change_index(folder, image_encoder=[None, None], boundary_ratio=0.9, expand_timesteps=True)
    assert {"image_encoder", "boundary_ratio", "expand_timesteps"}.isdisjoint(open_folder(folder, REFERENCE).components)


def test_a_component_from_a_module_of_diffusers_own_pipelines_is_fine(folder: Path) -> None:
    change_index(folder, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    assert "safety_checker" in open_folder(folder, REFERENCE).components


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "missing", ModelNotFoundError)


def test_a_file_is_not_a_directory(folder: Path) -> None:
    assert "is a file, not a directory" in refusal(folder / INDEX_NAME, ModelNotFoundError)


def test_a_folder_without_an_index_is_no_model(tmp_path: Path) -> None:
    assert f"it has no {INDEX_NAME}" in refusal(tmp_path, ModelNotFoundError)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"_class_name": ', b"\xff\xfe\x00", b"[" * 100_000, b"[1, 2]", b"null", b'"text"'],
    ids=["empty", "cut", "cut later", "not text", "deep", "a list", "null", "a string"],
)
def test_an_index_that_is_no_json_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / INDEX_NAME).write_bytes(content)
    assert INDEX_NAME in refusal(folder)


def test_an_index_of_gigabytes_is_not_even_read(folder: Path) -> None:
    with (folder / INDEX_NAME).open("r+b") as file:
        file.truncate(10_000_001)
    assert "larger than 10,000,000 bytes" in refusal(folder)


@pytest.mark.parametrize(
    "class_name", [None, 7, ["pipeline", "MyPipeline"], "os.system", "../evil", "", "my pipeline", {"a": 1}]
)
def test_an_index_that_names_foreign_code_as_its_class_is_refused(folder: Path, class_name: object) -> None:
    change_index(folder, _class_name=class_name)
    assert "foreign code is never run" in refusal(folder)


@pytest.mark.parametrize(
    "component",
    [
        ["my_module", "MyUNet"],
        ["os", "system"],
        ["diffusers.models", "UNet"],
        ["../evil", "UNet"],
        ["transformers", "models.evil"],
        ["", "UNet"],
    ],
)
def test_a_component_of_foreign_code_is_refused_by_name(folder: Path, component: list[str]) -> None:
    change_index(folder, unet=component)
    assert "'unet'" in refusal(folder)
    assert "foreign code" in refusal(folder)


@pytest.mark.parametrize("component", [["diffusers"], ["diffusers", "A", "B"], ["diffusers", 7], [{}, "A"]])
def test_a_component_that_is_no_pair_of_names_is_refused(folder: Path, component: list[object]) -> None:
    change_index(folder, unet=component)
    assert "broken at 'unet'" in refusal(folder)


def test_a_component_whose_name_leads_elsewhere_is_refused(folder: Path) -> None:
    change_index(folder, **{"../../etc": ["diffusers", "UNet"]})
    assert "foreign code" in refusal(folder)


def test_a_component_that_brings_code_is_refused(folder: Path) -> None:
    (folder / "transformer" / "modeling.py").write_text("import os")
    assert "transformer brings Python code" in refusal(folder)


@pytest.mark.parametrize("suffix", ["bin", "pt", "pth", "ckpt", "pkl", "PICKLE"])
def test_a_component_in_pickle_files_only_is_refused_by_name(folder: Path, suffix: str) -> None:
    weights = folder / "text_encoder" / "model.safetensors"
    weights.rename(weights.with_suffix(f".{suffix}"))
    message = refusal(folder)
    assert "the weights of text_encoder are in pickle files" in message
    assert "convert them to safetensors" in message


def test_pickle_files_beside_safetensors_do_not_matter(folder: Path) -> None:
    (folder / "text_encoder" / "pytorch_model.bin").write_bytes(b"never read")
    assert open_folder(folder, REFERENCE).class_name == "LTXPipeline"


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (folder / "vae" / "extra.json").symlink_to(secret)
    assert "vae/extra.json is a link that leads out" in refusal(folder)


def test_a_folder_that_is_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "vae").rename(tmp_path / "vae")
    (folder / "vae").symlink_to(tmp_path / "vae")
    assert "vae is a link that leads out" in refusal(folder)


def test_links_inside_the_folder_and_to_the_folder_are_fine(folder: Path, tmp_path: Path) -> None:
    (folder / "vae" / "again.json").symlink_to("config.json")
    (tmp_path / "link").symlink_to(folder)
    assert open_folder(tmp_path / "link", REFERENCE).class_name == "LTXPipeline"


@pytest.mark.parametrize("blobs", ["models--a--b/blobs", "blobs/ff"], ids=["its own", "shared by all models"])
def test_links_of_the_hubs_cache_to_its_blobs_are_fine_and_others_are_not(
    folder: Path, tmp_path: Path, blobs: str
) -> None:
    blob = tmp_path / blobs / "ffff"
    blob.parent.mkdir(parents=True)
    (tmp_path / "models--a--b" / "snapshots").mkdir(parents=True)
    snapshot = folder.rename(tmp_path / "models--a--b" / "snapshots" / "0123abc")
    (snapshot / INDEX_NAME).rename(blob)
    (snapshot / INDEX_NAME).symlink_to(blob)
    assert open_folder(snapshot, REFERENCE).class_name == "LTXPipeline"
    (snapshot / "extra.json").symlink_to(tmp_path / "secret.json")
    assert "extra.json is a link" in refusal(snapshot)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\x80"])
def test_a_broken_configuration_is_refused_by_its_file(folder: Path, content: bytes) -> None:
    (folder / "vae" / "config.json").write_bytes(content)
    with pytest.raises(ModelUnsupportedError, match=r"vae/config\.json"):
        open_folder(folder, REFERENCE).config("vae")


HEADER = json.dumps({"tensor": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234",
        struct.pack("<Q", 2**63) + HEADER,
        struct.pack("<Q", len(HEADER)) + HEADER[:20],
        struct.pack("<Q", len(HEADER)) + HEADER + b"123",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a": {}}',
        struct.pack("<Q", 10) + b'{"a": [1]}',
        struct.pack("<Q", 100_001) + b"[" * 100_001,
    ],
    ids=["empty", "short", "huge header", "cut header", "cut tensors", "a list", "no offsets", "no entry", "deep"],
)
def test_a_broken_safetensors_file_is_refused_by_name(folder: Path, content: bytes) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(content)
    message = refusal(folder)
    assert "vae/diffusion_pytorch_model.safetensors is no complete safetensors file" in message
