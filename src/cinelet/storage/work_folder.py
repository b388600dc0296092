"""Where a process keeps files until they are stored or handed over: folders that outlive no process for long."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "cinelet-work"
_NAME = re.compile(rf"{_PREFIX}-(\d+)-\w+", re.ASCII)


def make_work_folder(inside: str | None = None) -> Path:
    """Return a new private folder whose name tells whose it is. inside: None for where temporary files are."""
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-{os.getpid()}-", dir=inside))


@contextmanager
def work_folder() -> Iterator[Path]:
    """Give a new private folder, and remove it afterwards."""
    folder = make_work_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned() -> int:
    """Remove the folders of processes that are gone, and return how many; those of other users stay."""
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}-*"):
        named = _NAME.fullmatch(folder.name)
        if named and not _lives(int(named[1])) and _is_mine(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's, or no number of a process
    return True


def _is_mine(folder: Path) -> bool:
    try:
        facts = folder.lstat()
    except OSError:
        return False
    return facts.st_uid == os.geteuid() and not folder.is_symlink()
