"""The import contracts of pyproject.toml hold, and they notice what they are there for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = "import sys; from importlinter.cli import lint_imports_command as run; sys.exit(run())"


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    command = [sys.executable, "-c", LINT, "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The source and the contracts, free to be broken."""
    shutil.copytree(ROOT / "src" / "cinelet", tmp_path / "src" / "cinelet", ignore=shutil.ignore_patterns("weights"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_point_down() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("domain/upward.py", "import cinelet.service", "cinelet.domain.upward -> cinelet.service"),
        ("backends/nosy.py", "import cinelet.config", "cinelet.backends.nosy -> cinelet.config"),
        ("media/heavy.py", "def late():\n    import torch", "cinelet.media.heavy"),
        ("misplaced.py", "", "misplaced"),
    ],
    ids=["upwards", "a backend reads the settings", "torch outside its folder", "a module without a layer"],
)
def test_a_wrong_import_is_refused(copy: Path, file: str, source: str, complaint: str) -> None:
    (copy / "src" / "cinelet" / file).write_text(source)
    result = lint(copy)
    assert result.returncode != 0
    assert complaint in result.stdout
