"""The plugin of the guide is a real package: it installs, passes the contract, and serves its scheme."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.docs.documents import ROOT, code_blocks

PACKAGE = ROOT / "docs" / "example-backend"
SOURCE = PACKAGE / "src" / "cinelet_gradient" / "__init__.py"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """An environment in which the package is installed, beside this project."""
    folder = tmp_path_factory.mktemp("site")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target"]
    subprocess.run([sys.executable, *install, str(folder), str(PACKAGE)], check=True, capture_output=True, timeout=200)
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_the_guide_shows_the_package_as_it_is() -> None:
    blocks = [block.code for block in code_blocks(ROOT / "docs" / "14-writing-a-backend.md")]
    assert SOURCE.read_text(encoding="utf-8") in blocks
    entry_point = '[project.entry-points."cinelet.backends"]\ngradient = "cinelet_gradient:GradientBackend"\n'
    assert entry_point in blocks
    assert entry_point in (PACKAGE / "pyproject.toml").read_text(encoding="utf-8")


def test_the_package_passes_the_contract(environment: Mapping[str, str], tmp_path: Path) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={tmp_path}", f"--basetemp={tmp_path}/work"]
    command = [sys.executable, "-m", "pytest", *options, str(PACKAGE / "tests")]
    run = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "passed" in run.stdout


def test_the_command_line_serves_the_scheme(environment: Mapping[str, str], tmp_path: Path) -> None:
    words = [
        "generate",
        "anything",
        "--model",
        "gradient:flow",
        "--duration",
        "1",
        "--output",
        "flow.mp4",
        "--guidance",
        "3",
    ]
    command = [sys.executable, "-m", "cinelet", *words]
    run = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "flow.mp4").stat().st_size > 0
    assert "ignored guidance_scale (3.0): a gradient has no such parameter" in run.stdout
