from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cinelet.storage.work_folder import make_work_folder, remove_abandoned


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_worker_left_is_removed_and_what_a_living_one_has_stays(temporary: Path) -> None:
    mine = make_work_folder()
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = temporary / f"cinelet-work-{int(ended.stdout)}-abc_1"
    left.mkdir()
    (left / "video.mp4.part").write_bytes(b"half")
    assert remove_abandoned() == 1
    assert list(temporary.iterdir()) == [mine]
    assert mine.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["cinelet-work-x-1", "cinelet-work--1", "cinelet-work-99999999999999999999999-a"])
def test_what_is_named_otherwise_stays(temporary: Path, name: str) -> None:
    (temporary / name).mkdir()
    assert remove_abandoned() == 0


def test_a_link_leads_to_no_other_folder(temporary: Path) -> None:
    (temporary / "precious").mkdir()
    (temporary / "cinelet-work-999999-a").symlink_to(temporary / "precious")
    assert remove_abandoned() == 0
    assert (temporary / "precious").is_dir()
