"""The files of a component, checked before a library reads them: none may bring code, or be beyond all bounds.

Libraries ask no permission for much of this: transformers loads the adapter that a folder names, and with it whichever
base model that names; asks on the terminal whether to run code; takes attention kernels from the Hub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cinelet.backends.diffusers.weight_files import refuse_pickle
from cinelet.domain.errors import ModelUnsupportedError

MAX_FILES = 10_000
MAX_BYTES: Mapping[str, int] = {
    ".json": 10_000_000,
    ".jinja": 1_000_000,
    ".model": 50_000_000,
    ".txt": 50_000_000,
}
"""Of files that are read whole, by how their names end."""
MAX_VOCABULARY_BYTES = 100_000_000
VOCABULARIES = frozenset({"tokenizer.json", "vocab.json", "added_tokens.json"})
"""JSON of words: large, and read by nobody as settings."""
MAX_INDEX_BYTES = 50_000_000
"""Of a list of the parts of weights."""
MAX_STEPS = 1_000_000
"""Of a schedule: tables of this length are computed."""
MAX_DEPTH = 40
METHODS = frozenset({"bitsandbytes", "fp8", "gguf", "modelopt", "quanto", "torchao"})
"""Ways to quantize that diffusers or transformers have code of their own for."""

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors", re.ASCII)
_CODE_KEYS = frozenset({"auto_map", "custom_pipelines", "custom_pipeline", "trust_remote_code"})
_ADAPTER = "adapter_config.json"
_INDEX = re.compile(r".+\.index(?:\.\w+)?\.json")
_REMEDY = "use a model in diffusers' own format"


def check_component(folder: Path, name: str, reference: str) -> None:
    """Raise `ModelUnsupportedError` if the files of a component may not be read; a folder that is not there is fine."""
    if not folder.is_dir():
        return
    try:
        _check(folder, name, reference)
    except ValueError as error:
        raise ModelUnsupportedError(f"{reference}: the component {name} {error}", reference) from error


def _check(folder: Path, name: str, reference: str) -> None:
    files: list[Path] = []
    for path in folder.rglob("*"):
        if len(files) >= MAX_FILES:
            raise ValueError(f"has more than {MAX_FILES:,} files")
        if path.is_dir():
            continue
        if not path.is_file():
            what = "a link to nothing" if path.is_symlink() else "neither a file nor a folder"
            raise ValueError(f"holds {path.name:.80}, which is {what}; download the model again")
        if path.name.lower().endswith((".py", ".pyc", ".so", ".pyd", ".dll")):
            raise ValueError(f"brings Python code ({path.name:.80}), which is never run; {_REMEDY}")
        files.append(path)
    refuse_pickle(name, [path.name for path in files if path.parent == folder], reference)
    for path in files:
        _check_size(path)
        if path.suffix == ".json" and path.name not in VOCABULARIES:
            _check_json(path)


def _check_size(path: Path) -> None:
    limit = MAX_BYTES.get(path.suffix)
    if path.name in VOCABULARIES:
        limit = MAX_VOCABULARY_BYTES
    elif _INDEX.fullmatch(path.name):
        limit = MAX_INDEX_BYTES
    if limit is not None and path.stat().st_size > limit:
        raise ValueError(f"holds {path.name:.80}, which is larger than {limit:,} bytes")


def _check_json(path: Path) -> None:
    if path.name == _ADAPTER:
        raise ValueError(f"holds {_ADAPTER}, which would load another model; give a LoRA with the request instead")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise ValueError(f"holds {_place(path)}, which is not valid JSON; download the model again") from None
    if _INDEX.fullmatch(path.name):
        _check_index(path, value)
        return
    for key, found in _entries(value):
        _check_entry(key, found, where=_place(path))


def _check_index(path: Path, value: Any) -> None:
    """Refuse a list of parts that names anything but safetensors files that lie beside it."""
    if ".safetensors." not in path.name:
        return  # of pickle files, which are refused by their names, or lie beside safetensors and are not read
    parts = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(parts, dict):
        message = f"holds {path.name:.80}, which is no list of parts; download the model again"
        raise ValueError(message)  # noqa: TRY004  (a file is wrong, not a type of ours)
    for part in set(map(str, parts.values())):
        if not _PART.fullmatch(part):
            raise ValueError(f"takes weights from {part!r:.80}, which is no safetensors file beside {path.name:.80}")


def _place(path: Path) -> str:
    return f"{path.parent.name:.60}/{path.name:.60}"


def _entries(value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Give all keys and values, however deep they are."""
    if depth > MAX_DEPTH:
        raise ValueError("has settings that are nested too deep")
    if isinstance(value, dict):
        for key, found in value.items():
            yield key, found
            yield from _entries(found, depth + 1)
    elif isinstance(value, list):
        for found in value:
            yield from _entries(found, depth + 1)


def _check_entry(key: str, value: Any, *, where: str) -> None:
    """Refuse a setting that would have code brought here, or a table of any length computed."""
    if key in _CODE_KEYS and value:
        raise ValueError(f"names code of its own ({key} in {where}), which is never run; {_REMEDY}")
    if key.endswith(("attn_implementation", "experts_implementation")):
        kernels = value.values() if isinstance(value, dict) else [value]
        if any(isinstance(kernel, str) and not kernel.isidentifier() for kernel in kernels):
            raise ValueError(f"takes kernels from elsewhere ({key} in {where}), which are never run; {_REMEDY}")
    if key == "transformers_weights" and value and not _PART.fullmatch(str(value)):
        raise ValueError(f"takes weights from {value!r:.80} ({where}), which is no safetensors file of it")
    if key in {"use_pretrained_backbone", "use_timm_backbone"} and value is True:
        raise ValueError(f"takes a part of itself from elsewhere ({key} in {where}); {_REMEDY}")
    if key == "quantization_config" and isinstance(value, dict):
        method = str(value.get("quant_method", "")).partition("_")[0]
        if method not in METHODS:
            known = ", ".join(sorted(METHODS))
            raise ValueError(f"is quantized in a way that is not known ({method!r:.40} in {where}); known: {known}")
    if key == "num_train_timesteps" and not (isinstance(value, int) and 1 <= value <= MAX_STEPS):
        raise ValueError(f"has a schedule of {value!r:.40} steps ({where}); download the model again")
