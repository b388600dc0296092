"""Where videos are saved: names from prompts, and every refusal before the work begins."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import typer

from cinelet.domain.errors import ValidationError

MAX_SLUG_CHARACTERS = 60
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})
"""File names that Windows keeps for devices."""


def slug(prompt: str) -> str:
    """Return a file name's stem made of a prompt's words, in any script: "a-red-circle"."""
    words = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFKC", prompt).lower()).strip("-")
    if len(words) > MAX_SLUG_CHARACTERS:
        words = words[:MAX_SLUG_CHARACTERS].rpartition("-")[0] or words[:MAX_SLUG_CHARACTERS]
    # File systems count bytes: 255 with the suffix.
    words = words.encode()[:200].decode(errors="ignore").strip("-")
    return f"video-{words}".rstrip("-") if not words or words in _RESERVED else words


def single_target(output: Path | None, *, prompt: str, suffix: str, force: bool, has_codec: bool = False) -> Path:
    """Return where one video goes. Without `output`: a free name made from the prompt.

    has_codec: whether the command has an option that makes another kind of file.
    Raises `ValidationError` where it cannot be written, would replace a file, or is named as another kind of file.
    """
    target = None if output is None else _expanded(output)
    if target is None or target.is_dir():
        folder = target or Path()
        require_writable(folder)
        return free_target(folder, prompt=prompt, suffix=suffix)
    if not target.suffix:
        target = target.with_name(target.name + suffix)
    _require_suffix(target, suffix, otherwise=", or give another --codec" if has_codec else "")
    require_writable(target.parent)
    require_free([target], force=force)
    return target


def free_target(folder: Path, *, prompt: str, suffix: str) -> Path:
    """Return a name in a folder that is made from a prompt and that nothing has."""
    return next(path for path in _numbered(folder, slug(prompt), suffix) if not is_taken(path))


def is_taken(target: Path) -> bool:
    """Tell whether something has this name, a link to nothing included: no file is given a name that is taken."""
    return os.path.lexists(target)


def batch_targets(folder: Path, *, prompts: list[str], suffix: str, force: bool) -> list[Path]:
    """Return where each of several videos goes: numbered names in a folder, which is made if it is missing."""
    folder = folder.expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder {folder} cannot be made: {error.strerror or error}; choose another with --output"
        raise ValidationError(message, {"output": "Cannot be made"}) from error
    require_writable(folder)
    digits = max(3, len(str(len(prompts))))
    targets = [folder / f"{n:0{digits}}-{slug(prompt)}{suffix}" for n, prompt in enumerate(prompts, start=1)]
    require_free(targets, force=force)
    return targets


def require_writable(folder: Path) -> None:
    """Raise `ValidationError` where no file can be made in a folder; found out by making one."""
    if not folder.is_dir():
        why = "is not a folder" if folder.exists() else "does not exist"
        raise ValidationError(f"The folder {folder} {why}; make it, or choose another with --output", {"output": why})
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"Nothing can be written in {folder}: {error.strerror or error}; choose another with --output"
        raise ValidationError(message, {"output": "Cannot be written"}) from error


def require_free(targets: list[Path], *, force: bool, instead: str = "another --output") -> None:
    """Ask on a terminal before files are replaced; elsewhere raise `ValidationError` that names --force."""
    taken = [target for target in targets if is_taken(target)]
    if force or not taken:
        return
    if folders := [target for target in taken if target.is_dir()]:
        raise ValidationError(f"{folders[0]} is a folder; choose another name", {"output": "Is a folder"})
    names = str(taken[0]) if len(taken) == 1 else f"{taken[0]} and {len(taken) - 1} more"
    if sys.stdin.isatty() and typer.confirm(f"Replace {names}?", err=True):
        return
    raise ValidationError(f"{names} exists already; give --force to replace it, or {instead}", {"output": "Exists"})


def _expanded(output: Path) -> Path:
    """Return a path with the home directory in it, or raise `ValidationError` for one that no file can have."""
    try:
        target = output.expanduser()
        target.is_dir()
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        message = f"{str(output)[:80]} cannot be written: {why}; choose another --output"
        raise ValidationError(message, {"output": "Cannot be written"}) from error
    return target


def _require_suffix(target: Path, suffix: str, *, otherwise: str) -> None:
    if target.suffix.lower() != suffix:
        better = target.with_suffix(suffix)
        message = f"{target} cannot hold this video, which is stored as {suffix}; name it {better}{otherwise}"
        raise ValidationError(message, {"output": f"The suffix must be {suffix}"})


def _numbered(folder: Path, stem: str, suffix: str) -> Iterator[Path]:
    yield folder / f"{stem}{suffix}"
    yield from (folder / f"{stem}-{n}{suffix}" for n in count(2))
