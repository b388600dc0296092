"""Which files of a model are needed: its configurations, its vocabularies, and one variant of its weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from cinelet.domain.errors import ModelUnsupportedError

PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
_TEXT_SUFFIXES = frozenset({".json", ".txt", ".jinja", ".model"})
_WEIGHTS = re.compile(
    r"(?:model|diffusion_pytorch_model)"  # other names are not loaded: EMA copies, single-file checkpoints, adapters
    r"(?:\.(?P<variant>\w+))?"
    r"(?:-\d{5}-of-\d{5})?"
    r"(?:\.(?P<older_variant>\w+))?"
    r"\.safetensors"
)
_PART = re.compile(r"-\d{5}-of-(\d{5})")


def choose_variant(components: Mapping[str, Iterable[str]]) -> str | None:
    """Return the variant of the weights to load, as "fp16"; None for the plain ones, which are preferred.

    components: the file names in each component's folder. A variant is chosen where a component has no plain weights;
    one that all such components have is preferred, then bf16 to fp16.
    """
    found = [_variants(names) for names in components.values()]
    without_plain = [
        {variant for variant in variants if variant} for variants in found if variants and None not in variants
    ]
    if not without_plain:
        return None
    return min(set.intersection(*without_plain) or set.union(*without_plain))  # "bf16" comes before "fp16"


def needed_files(listed: Iterable[str], components: Iterable[str], *, weights: bool, reference: str) -> tuple[str, ...]:
    """Return what to download of the files that a repository lists, in the order of the list.

    weights: False for what tells a model's capabilities, its configurations. Raises `ModelUnsupportedError` for a
    component whose weights are in pickle files only.
    """
    folders: dict[str, list[str]] = {name: [] for name in components}
    paths = [PurePosixPath(path) for path in listed]
    for path in paths:
        if len(path.parts) == 2 and path.parts[0] in folders:
            folders[path.parts[0]].append(path.name)
    for name, files in folders.items():
        refuse_pickle(name, files, reference)
    variant = choose_variant(folders)

    def is_needed(path: PurePosixPath) -> bool:
        if len(path.parts) == 1:
            return path.name in {"model_index.json", "cinelet.json"}
        if len(path.parts) != 2 or path.parts[0] not in folders:
            return False
        if not weights:
            return path.name.endswith("config.json")
        if path.suffix != ".safetensors":
            return path.suffix in _TEXT_SUFFIXES
        return path.name in weights_of(folders[path.parts[0]], variant)

    return tuple(str(path) for path in paths if is_needed(path))


def weights_of(names: Iterable[str], variant: str | None) -> set[str]:
    """Return the files of a component's weights that are loaded where `variant` was chosen for the model."""
    listed = list(names)
    used = variant if variant in _variants(listed) else None
    return {name for name in listed if _variants([name]) == {used}}


def are_whole(files: Iterable[str]) -> bool:
    """Tell whether weights are among a component's files, with all parts of at least one variant."""
    parts: dict[str, list[int]] = {}
    for name in files:
        if _WEIGHTS.fullmatch(name):
            numbers = _PART.search(name)
            together = name if numbers is None else name.replace(numbers[0], "")
            parts.setdefault(together, []).append(1 if numbers is None else int(numbers[1]))
    return any(len(found) == found[0] for found in parts.values())


def refuse_pickle(component: str, files: Iterable[str], reference: str) -> None:
    """Raise `ModelUnsupportedError` if a component's weights are there in pickle files only."""
    suffixes = {PurePosixPath(name).suffix.lower() for name in files}
    if suffixes & PICKLE_SUFFIXES and ".safetensors" not in suffixes:
        message = f"{reference}: the weights of {component} are in pickle files, which can run code when they are read"
        raise ModelUnsupportedError(f"{message}; convert them to safetensors", reference)


def _variants(names: Iterable[str]) -> set[str | None]:
    """Return the variants of weights among file names; None stands for the plain weights."""
    matches = [match for name in names if (match := _WEIGHTS.fullmatch(name))]
    return {match["variant"] or match["older_variant"] for match in matches}
