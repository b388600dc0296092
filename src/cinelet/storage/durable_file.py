"""Files that are either whole or not there, whatever ends the process.

Content is written under a temporary name in a folder for such files, synced, and given its name in one step; then the
folder that holds the name is synced.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

PART_SUFFIX = ".part"
ABANDONED_AFTER_SECONDS = 24 * 3600
MOVE_TRIES = 20
"""How often a folder is made again that somebody else removed because it was empty."""

T = TypeVar("T")


def write_part(parts: Path, fill: Callable[[BinaryIO], T]) -> tuple[Path, T]:
    """Write a new temporary file in `parts` and sync it; return where it is and what `fill` returned."""
    parts.mkdir(parents=True, exist_ok=True)
    part = parts / f"{secrets.token_hex(16)}{PART_SUFFIX}"
    try:
        with part.open("xb") as file:
            filled = fill(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part, filled


def move_into_place(part: Path, target: Path, *, root: Path, create: bool = False) -> bool:
    """Give the temporary file its name; it is gone afterwards. Returns False if `create` and the name is taken.

    Missing folders between `root` and the target are made, and synced with it.
    """
    try:
        for tries_left in reversed(range(MOVE_TRIES)):
            try:
                made = _make_folders(target.parent, root=root)
            except (FileExistsError, FileNotFoundError):
                # It was there and then it was not; or a file has the name of the folder, and keeps it.
                if not tries_left:
                    raise
                continue
            try:
                if create:
                    _take_free_name(part, target)
                else:
                    part.replace(target)
            except FileExistsError:
                return False
            except FileNotFoundError:
                if not tries_left or not part.exists():
                    raise
                continue
            for folder in (target.parent, *made):
                sync_folder(folder)
            return True
        return False  # pragma: no cover  (the last try raises)
    finally:
        part.unlink(missing_ok=True)


def sweep_parts(parts: Path, *, older_than_seconds: float = ABANDONED_AFTER_SECONDS) -> int:
    """Remove temporary files that nobody has written to for so long; return how many."""
    removed = 0
    limit = time.time() - older_than_seconds
    for part in parts.glob(f"*{PART_SUFFIX}"):
        try:
            if part.stat().st_mtime < limit:
                part.unlink()
                removed += 1
        except FileNotFoundError:  # Another process sweeps as well.
            continue
    return removed


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    if os.name == "nt":
        return  # Windows opens no folders, and writes names through.
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return  # Removed again meanwhile, and so is what was in it.
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folders(folder: Path, *, root: Path) -> list[Path]:
    """Make what is missing; return the folders that got a new name in them."""
    missing = []
    at = folder
    while at != root and not at.is_dir():
        missing.append(at)
        at = at.parent
    folder.mkdir(parents=True, exist_ok=True)
    return [path.parent for path in missing]


def _take_free_name(part: Path, target: Path) -> None:
    """Name the file without replacing one that is there."""
    try:
        os.link(part, target)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:
        # This file system has no hard links. The name is taken first, so a file of somebody else is still safe.
        target.touch(exist_ok=False)
        part.replace(target)
