"""Every example in the documents runs as it stands, and prints what the text shows."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, CodeBlock, code_blocks, commands

RUN = {"python", "console"}
LIMIT_SECONDS = 200
WITH_EXAMPLES = [path for path in DOCUMENTS if any(block.language in RUN for block in code_blocks(path))]


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """A machine without a token and without a network, this interpreter's commands, empty folders for work and data."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CINELET_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("CINELET_CACHE_SIZE")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return os.environ


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_examples_of_a_document_run(path: Path, surroundings: Mapping[str, str]) -> None:
    """All of one document's blocks share a working directory; its Python blocks share an interpreter."""
    blocks = [block for block in code_blocks(path) if block.language in RUN and block.not_run is None]
    python = "".join(padded(block) for block in blocks if block.language == "python")
    for block in blocks:
        if block.language == "console":
            run_console(block, path, surroundings)
    if python:
        script = Path("example.py")
        script.write_text(python, encoding="utf-8")
        run = subprocess.run(
            [sys.executable, script],
            env=surroundings,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_SECONDS,
        )
        assert run.returncode == 0, f"{path.relative_to(ROOT)}:\n{run.stderr}"


def padded(block: CodeBlock) -> str:
    return f"# line {block.line}\n{block.code}\n"


def run_console(block: CodeBlock, path: Path, surroundings: Mapping[str, str]) -> None:
    for command in commands(block):
        run = subprocess.run(
            ["bash", "-c", command.line],
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=LIMIT_SECONDS,
        )
        where = f"{path.relative_to(ROOT)}:{block.line}: {command.line}\n{run.stdout}"
        refused = any(line.startswith("error:") for line in command.shown.splitlines())
        assert (run.returncode != 0) == refused, where
        if command.shown.strip():
            checker = doctest.OutputChecker()
            options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            assert checker.check_output(command.shown, run.stdout, options), f"{where}\nshown:\n{command.shown}"


def test_an_example_that_is_not_run_says_why() -> None:
    marked = [block for path in DOCUMENTS for block in code_blocks(path) if block.not_run is not None]
    assert all(len(block.not_run or "") > 10 for block in marked)


def test_the_documents_hold_no_code_of_an_unknown_kind() -> None:
    known = RUN | {"", "sh", "text", "toml", "json", "nginx", "yaml"}
    assert {block.language for path in DOCUMENTS for block in code_blocks(path)} <= known
