"""Video models that lie in the Hub's cache and can be run without a download. Imports no torch, asks no network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cinelet.backends.diffusers.families import makes_videos
from cinelet.backends.diffusers.model_folder import INDEX_NAME, read_index
from cinelet.backends.diffusers.weight_files import are_whole
from cinelet.domain.errors import CineletError, ValidationError
from cinelet.domain.model import ModelReference

_PREFIX = "models--"


def downloaded_models(cache_dir: Path) -> tuple[str, ...]:
    """Return the Hub ids of the video models whose current revision is all there, in order. Blocks.

    cache_dir: of the Hub's files. What cannot be read is no model.
    """
    try:
        folders = sorted(cache_dir.expanduser().glob(f"{_PREFIX}*--*"))
    except (OSError, RuntimeError):
        return ()
    return tuple(name for folder in folders for name in _model(folder))


def _model(folder: Path) -> Iterator[str]:
    """Give the id of a repository of the cache, or nothing."""
    name = folder.name.removeprefix(_PREFIX).replace("--", "/")
    with suppress(CineletError, OSError, UnicodeDecodeError):
        commit = (folder / "refs" / "main").read_text(encoding="ascii").strip()
        snapshot = folder / "snapshots" / commit
        if (snapshot / INDEX_NAME).is_file() and _is_id(name) and _is_whole(snapshot, name):
            yield name


def _is_id(name: str) -> bool:
    try:
        return ModelReference.parse(name).scheme == "hub"
    except ValidationError:
        return False


def _is_whole(snapshot: Path, name: str) -> bool:
    model = read_index(snapshot, name)
    return makes_videos(model.class_name) and all(_is_there(snapshot / component) for component in model.components)


def _is_there(component: Path) -> bool:
    """Tell whether a component has its files. A file of the cache is seen there only when it is complete."""
    # A link to a file that was removed from the cache is no file.
    names = {file.name for file in component.iterdir() if file.is_file()} if component.is_dir() else set()
    # Models have this file, and weights with it; schedulers and tokenizers name theirs in another way.
    return are_whole(names) if "config.json" in names else bool(names)
