"""Every way in which a model's files could bring code here, or take what is not theirs, is closed beforehand."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import transformers

from cinelet.backends.diffusers import component_files
from cinelet.backends.diffusers.component_classes import check_classes
from cinelet.backends.diffusers.model_cache import ModelCache
from cinelet.backends.diffusers.model_folder import INDEX_NAME, open_folder
from cinelet.backends.diffusers.quiet import quiet_libraries
from cinelet.domain.errors import ModelUnsupportedError
from tests.conftest import TinyPipeline

WEIGHTS = "diffusion_pytorch_model.safetensors"
Change = Callable[[Path], object]


@pytest.fixture
def folder(tiny_pipeline: TinyPipeline, tmp_path: Path) -> Path:
    """A good model, free to be broken."""
    return Path(shutil.copytree(tiny_pipeline("ltx"), tmp_path / "model"))


def setting(file: str, **changes: Any) -> Change:
    """Return what changes a file of settings, or writes one."""

    def change(folder: Path) -> None:
        path = folder / file
        known = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**known, **changes}))

    return change


def writing(file: str, content: bytes) -> Change:
    return lambda folder: (folder / file).write_bytes(content)


class Trap:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("sprung",)


def pickled_instead_of_safetensors(folder: Path) -> None:
    (folder / "vae" / WEIGHTS).unlink()
    (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Trap()))


def pickled_vocabulary(folder: Path) -> None:
    (folder / "tokenizer" / "vocab.pkl").write_bytes(pickle.dumps(Trap()))


def parts(weight_map: object, name: str = f"{WEIGHTS}.index.json") -> Change:
    return writing(f"transformer/{name}", json.dumps({"metadata": {}, "weight_map": weight_map}).encode())


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


CODE = b"import os\nos.mkdir('sprung')\n"
AUTO_MAP = {"auto_map": {"AutoModel": "trap.Trap"}}
WAYS_IN: dict[str, tuple[Change, str]] = {
    "a pipeline class with a file of code": (setting(INDEX_NAME, _class_name=["trap", "Trap"]), "never run"),
    "a component from a module of the folder": (setting(INDEX_NAME, vae=["trap", "Trap"]), "foreign code"),
    "a component from any installed module": (setting(INDEX_NAME, vae=["os", "system"]), "foreign code"),
    "code beside the weights": (writing("vae/trap.py", CODE), "brings Python code"),
    "code in upper case": (writing("vae/TRAP.PY", CODE), "brings Python code"),
    "compiled code": (writing("vae/trap.so", CODE), "brings Python code"),
    "auto_map of a model": (
        setting("text_encoder/config.json", **AUTO_MAP),
        "names code of its own (auto_map in text_encoder/conf",
    ),
    "auto_map deep inside": (setting("text_encoder/config.json", text_config=[AUTO_MAP]), "names code of its own"),
    "auto_map of a repository": (
        setting("text_encoder/config.json", auto_map={"AutoModel": "org/evil--trap.Trap"}),
        "names code of its own",
    ),
    "auto_map of a tokenizer": (
        setting("tokenizer/tokenizer_config.json", auto_map={"AutoTokenizer": ["trap.Trap", None]}),
        "names code of its own (auto_map in tokenizer/tokenizer_config.json)",
    ),
    "auto_map of a processor": (setting("tokenizer/processor_config.json", **AUTO_MAP), "names code of its own"),
    "auto_map of a diffusers model": (setting("vae/config.json", **AUTO_MAP), "names code of its own"),
    "an older model's custom pipelines": (
        setting("text_encoder/config.json", custom_pipelines={"x": {"impl": "trap.Trap"}}),
        "names code of its own",
    ),
    "an adapter of another base model": (
        setting("text_encoder/adapter_config.json", base_model_name_or_path="org/evil", peft_type="LORA"),
        "adapter_config.json, which would load another model",
    ),
    "attention kernels of a repository": (
        setting("text_encoder/config.json", attn_implementation="org/evil-kernel"),
        "takes kernels from elsewhere",
    ),
    "attention kernels of a part": (
        setting("text_encoder/config.json", _attn_implementation={"": "sdpa", "x": "org/evil:attend"}),
        "takes kernels from elsewhere",
    ),
    "a backbone of a repository": (
        setting("text_encoder/config.json", backbone="org/evil", use_pretrained_backbone=True),
        "takes a part of itself from elsewhere",
    ),
    "a quantization of its own": (
        setting("transformer/config.json", quantization_config={"quant_method": "evil"}),
        "quantized in a way that is not known ('evil'",
    ),
    "a quantization without a name": (
        setting("text_encoder/config.json", quantization_config={"bits": 4}),
        "quantized in a way that is not known",
    ),
    "pickle files only": (pickled_instead_of_safetensors, "pickle files"),
    "a pickled vocabulary": (pickled_vocabulary, "pickle files"),
    "parts that are pickle files": (parts({"a": "evil.bin"}), "takes weights from 'evil.bin'"),
    "parts outside of the folder": (parts({"a": "../../evil.safetensors"}), "takes weights from '../../evil.safe"),
    "parts anywhere": (parts({"a": "/tmp/evil.safetensors"}), "takes weights from '/tmp/evil.safetensors'"),
    "parts of a variant": (
        parts({"a": "../evil.bin"}, "diffusion_pytorch_model.safetensors.index.fp16.json"),
        "takes weights from '../evil.bin'",
    ),
    "no list of parts": (parts(["evil.bin"]), "no list of parts"),
    "weights of any name": (setting("text_encoder/config.json", transformers_weights="../evil.bin"), "takes weights"),
    "a link out of the folder": (lambda folder: (folder / "vae" / "x.json").symlink_to("/etc/passwd"), "leads out"),
    "a link to nothing": (lambda folder: (folder / "vae" / "x.json").symlink_to("nothing"), "a link to nothing"),
    "a pipe that nobody writes to": (lambda folder: os.mkfifo(folder / "vae" / "x.json"), "neither a file nor"),
    "settings that are nested without end": (writing("vae/x.json", nested(500)), "nested too deep"),
    "settings that no reader survives": (writing("vae/x.json", nested(100_000)), "not valid JSON"),
    "a schedule without end": (
        setting("scheduler/scheduler_config.json", num_train_timesteps=10**15),
        "a schedule of 1000000000000000 steps",
    ),
}


@pytest.mark.parametrize("way", WAYS_IN)
def test_a_way_in_is_closed_before_anything_is_loaded(folder: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    change, complaint = WAYS_IN[way]
    change(folder)
    with pytest.raises(ModelUnsupportedError) as refused:
        open_folder(folder, "local:./model")
    message = str(refused.value)
    assert complaint in message
    assert message.startswith("local:./model: ")
    assert "\n" not in message
    assert not (folder.parent / "sprung").exists()


LARGE = {"tokenizer/tokenizer.json": 100, "tokenizer/spiece.model": 50, "tokenizer/merges.txt": 50,
         "tokenizer/chat_template.jinja": 1, "vae/more.json": 10, f"vae/{WEIGHTS}.index.json": 50}  # fmt: skip
"""Millions of bytes that are read, at most."""


@pytest.mark.parametrize("file", LARGE)
def test_a_file_that_is_read_whole_has_a_bound(folder: Path, file: str) -> None:
    with (folder / file).open("ab") as opened:
        opened.truncate(LARGE[file] * 1_000_000 + 1)
    with pytest.raises(ModelUnsupportedError, match=f"larger than {LARGE[file]},000,000 bytes"):
        open_folder(folder, "local:./model")


def test_a_component_of_thousands_of_files_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component_files, "MAX_FILES", 1)
    with pytest.raises(ModelUnsupportedError, match="more than 1 files"):
        open_folder(folder, "local:./model")


@pytest.mark.parametrize(
    "component",
    [
        ["diffusers", "DiffusionPipeline"],  # would read the index, and so the class, of a folder that nobody looked at
        ["diffusers", "LTXPipeline"],
        ["diffusers", "AutoModel"],  # would take whichever class its settings name
        ["transformers", "AutoModel"],
        ["transformers", "AutoTokenizer"],
        ["transformers", "RagRetriever"],  # would unpickle an index
        ["transformers", "pipeline"],
        ["diffusers", "utils"],
        ["diffusers", "NoSuchModel"],
        ["ltx", "logging"],
        ["deprecated", "os"],
    ],
)
def test_a_class_that_is_no_part_of_a_model_is_refused_before_anything_is_loaded(
    folder: Path, component: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was loaded")

    monkeypatch.setattr(diffusers.LTXPipeline, "from_pretrained", refuse)
    monkeypatch.setattr(transformers.T5EncoderModel, "from_pretrained", refuse)
    setting(INDEX_NAME, vae=component)(folder)
    with (
        pytest.raises(ModelUnsupportedError, match=f"the component vae is of {component[1]!r}, which is no part of"),
        quiet_libraries(),
        ModelCache(device="cpu").lease(open_folder(folder, "local:./model")),
    ):
        pass


@pytest.mark.parametrize("component", [["stable_diffusion", "StableDiffusionSafetyChecker"], ["ltx2", "LTX2Vocoder"]])
def test_parts_that_live_in_a_pipelines_module_are_parts(folder: Path, component: list[str]) -> None:
    setting(INDEX_NAME, vae=component)(folder)
    check_classes(open_folder(folder, "local:./model"))


def test_the_index_says_which_class_it_is_and_the_settings_do_not(folder: Path) -> None:
    setting("scheduler/scheduler_config.json", _class_name="DDIMScheduler")(folder)
    setting("vae/config.json", _class_name="AutoencoderTiny")(folder)
    with quiet_libraries(), ModelCache(device="cpu").lease(open_folder(folder, "local:./model")) as loaded:
        assert type(loaded.pipeline.scheduler).__name__ == "FlowMatchEulerDiscreteScheduler"
        assert type(loaded.pipeline.vae).__name__ == "AutoencoderKLLTXVideo"


def test_a_pickle_file_beside_other_safetensors_is_not_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    pickled_instead_of_safetensors(folder)
    shutil.copy(folder / "transformer" / WEIGHTS, folder / "vae" / "other.safetensors")
    with (
        pytest.raises(ModelUnsupportedError, match="does not load"),
        quiet_libraries(),
        ModelCache(device="cpu").lease(open_folder(folder, "local:./model")),
    ):
        pass
    assert not Path("sprung").exists()


HARMLESS: dict[str, Change] = {
    "no code": setting("text_encoder/config.json", auto_map={}),
    "known ways": setting(
        "text_encoder/config.json", attn_implementation="sdpa", quantization_config={"quant_method": "torchao"}
    ),
    "no limit": setting("tokenizer/tokenizer_config.json", model_max_length=10**30),
    "parts beside it": parts({"a": WEIGHTS}),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_settings_that_bring_nothing_are_fine(folder: Path, change: str) -> None:
    HARMLESS[change](folder)
    assert open_folder(folder, "local:./model").class_name == "LTXPipeline"
