from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cinelet.cli.app import run
from cinelet.testing import FakeBackend
from tests.doors import door_with


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Done]


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with no token, no settings, no cache, and data and temporary folders of one's own."""
    for name in [
        name for name in os.environ if name.startswith(("CINELET_", "DEFAULT_", "FALLBACK_", "MAX_", "HF_TOKEN"))
    ]:
        monkeypatch.delenv(name)
    work = tmp_path / "work"
    for folder in (work, tmp_path / "temporary", tmp_path / "home"):
        folder.mkdir()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CINELET_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CINELET_CACHE_SIZE", "0")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[FakeBackend]:
    with door_with(FakeBackend(steps=3)) as fake:
        yield fake
    assert list((tmp_path / "temporary").iterdir()) == [], "every temporary folder is gone"


@pytest.fixture
def cinelet(backend: FakeBackend, capsys: pytest.CaptureFixture[str]) -> Command:  # noqa: ARG001
    """Run a command line in this process, with the fake backend behind every model."""

    def command(*words: str | Path) -> Done:
        code = run([str(word) for word in words])
        return Done(code, *capsys.readouterr())

    return command


@pytest.fixture
def installed_fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Install a plugin for the scheme `slow`, for real processes; return the start of the command."""
    site = tmp_path / "site"
    package = site / "slow_videos-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-videos\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[cinelet.backends]\nslow = slow_videos:make\n")
    (site / "slow_videos.py").write_text(
        "from cinelet.testing import FakeBackend\ndef make():\n    return FakeBackend(steps=600, step_seconds=0.1)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    return [sys.executable, "-m", "cinelet"]


def start(words: list[str]) -> subprocess.Popen[str]:
    # A program that was started in the background of a shell ignores Ctrl-C, and so would its children.
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509  (the child sets one handler)
    )
