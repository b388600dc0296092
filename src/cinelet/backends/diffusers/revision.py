"""Which state a model's files are in, found out without loading them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from cinelet.backends.diffusers.model_folder import INDEX_NAME
from cinelet.domain.lora import Lora


def of_files(folder: Path) -> str | None:
    """Hash the names, sizes and times of all files of a folder, or return None where there are none."""
    facts = _facts(folder)
    return hashlib.sha256(repr(facts).encode()).hexdigest() if facts else None


def of_content(folder: Path) -> str | None:
    """Hash the names and the content of all files: the same on every machine, for a small model."""
    facts = _facts(folder)
    return _content_hash(folder, facts) if facts else None


def of_hub_model(repo_id: str, *, cache_dir: Path | None) -> str | None:
    """Return the commit of the Hub that is on this machine, or None."""
    from huggingface_hub import try_to_load_from_cache

    folder = None if cache_dir is None else cache_dir.expanduser()
    try:
        found = try_to_load_from_cache(repo_id, INDEX_NAME, cache_dir=folder)
    except (OSError, ValueError):  # The cache cannot be read, or the name is none.
        return None
    return Path(found).parent.name if isinstance(found, str) else None


def of_lora(lora: Lora, *, cache_dir: Path | None) -> str | None:
    """Return the size and time of a file, or the commit of the Hub that is here; None where there is none."""
    from huggingface_hub import constants

    try:
        if lora.is_file:
            facts = Path(lora.path).expanduser().stat()
            return f"{facts.st_size}-{facts.st_mtime_ns}"
        repo_id, _ = lora.hub_parts
        root = Path(constants.HF_HUB_CACHE if cache_dir is None else cache_dir).expanduser()
        folder = root / f"models--{repo_id.replace('/', '--')}"
        return (folder / "refs" / "main").read_text(encoding="ascii").strip() or None
    except (OSError, RuntimeError, ValueError):
        return None


def _facts(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """List (path, bytes, nanoseconds of the last change) of the files, in order; nothing where there is no model."""
    try:
        folder = folder.expanduser()
        # Any folder can be named, and only those of models are small enough to be looked through.
        return tuple(sorted(_each_file(folder))) if (folder / INDEX_NAME).is_file() else ()
    except (OSError, RuntimeError):  # Gone meanwhile, not readable, or "~" of nobody.
        return ()


def _each_file(folder: Path) -> Iterator[tuple[str, int, int]]:
    for path in folder.rglob("*"):
        if path.is_file():
            facts = path.stat()
            yield path.relative_to(folder).as_posix(), facts.st_size, facts.st_mtime_ns


@functools.lru_cache(maxsize=8)
def _content_hash(folder: Path, facts: tuple[tuple[str, int, int], ...]) -> str | None:
    """Read the files, once for the same `facts`."""
    digest = hashlib.sha256()
    try:
        for name, size_bytes, _ in facts:
            digest.update(f"{name}\0{size_bytes}\0".encode())
            digest.update((folder / name).read_bytes())
    except OSError:
        return None
    return digest.hexdigest()
