from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from cinelet.cli import app
from cinelet.domain.backend import Capabilities
from cinelet.domain.errors import AllModelsFailedError, ModelNotFoundError, RateLimitError
from cinelet.domain.request import Task
from cinelet.testing import FakeBackend
from tests.cli.conftest import Command


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from cinelet.cli.app import run; code = run(['--help'])\n"
        "heavy = ('torch', 'diffusers', 'transformers', 'av', 'numpy', 'PIL', 'pydantic', 'rich')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    *text, heavy = done.stdout.splitlines()
    for command in ("generate", "probe", "models", "config", "version"):
        assert any(line.strip().startswith(command) for line in text)
    assert heavy == "[]"


def test_the_module_runs_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cinelet", "version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == (f"cinelet {version('cinelet')}\n")


@pytest.mark.parametrize(("words", "message"), [(["dance"], "No such command 'dance'"), (["--bogus"], "--bogus")])
def test_a_wrong_command_is_one_line_and_exit_code_two(cinelet: Command, words: list[str], message: str) -> None:
    done = cinelet(*words)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_no_command_shows_the_help(cinelet: Command) -> None:
    done = cinelet()
    assert "Usage: cinelet" in done.out + done.err


def test_a_group_of_errors_tells_each_cause() -> None:
    group = AllModelsFailedError("Every model failed", [ModelNotFoundError("no a"), RateLimitError("slow\nb")])
    assert app.error_lines(group) == ["error: Every model failed", "  no a", "  slow b"]


def test_a_foreign_error_is_named_and_redacted() -> None:
    assert app.error_lines(LookupError("hf_abcdefghij")) == ["error: LookupError: *** (--debug shows where)"]


def test_config_tells_value_and_source_and_masks_secrets(cinelet: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    monkeypatch.setenv("MAX_VIDEO_DURATION", "9")
    done = cinelet("config")
    lines = done.out.splitlines()
    assert lines[lines.index("MAX_VIDEO_DURATION=9") + 1].strip() == "from: environment (MAX_VIDEO_DURATION)"
    assert lines[lines.index("VIDEO_QUALITY_PRESET=medium") + 1].strip() == "from: default"
    assert "HF_TOKEN=***" in lines
    assert "secret" not in done.out
    assert cinelet("config", "--json").json["MAX_VIDEO_DURATION"]["value"] == 9


def test_models_are_listed_with_their_roles(cinelet: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFAULT_TEXT_TO_VIDEO_MODEL", "org/mine")
    listed = cinelet("models", "list", "--json").json["models"]
    assert listed["org/mine"] == ["default for text-to-video"]
    assert listed["embedded"][:2] == ["inside the package", "default for image-to-video"]
    assert listed["embedded"][2:] == ["fallback for text-to-video", "fallback for image-to-video"]
    monkeypatch.setenv("FAL_KEY", "key")
    listed = cinelet("models", "list", "--json").json["models"]
    assert listed["cerspense/zeroscope_v2_XL"] == ["fallback for text-to-video"]
    shown = cinelet("models", "list", "--json").json
    assert (shown["where"]["embedded"], shown["where"]["org/mine"]) == ("here", "either")
    assert "org/mine" in cinelet("models", "list").out


def test_a_model_is_shown_with_what_it_can_do(cinelet: Command) -> None:
    shown = cinelet("models", "show", "fake:x", "--json").json
    assert (shown["tasks"], shown["default_size"]) == (["image-to-video", "text-to-video"], "64x48")
    assert "seed" in shown["parameters"]
    text = cinelet("models", "show", "fake:x").out
    assert "runs_on          this machine (fake)" in text.splitlines()


def test_prompts_to_begin_with_are_shown(cinelet: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Capabilities("fake:x", frozenset(Task), "nowhere", frozenset(), examples=("a gull", "two gulls"))

    async def capabilities(*_: object) -> Capabilities:
        return known

    monkeypatch.setattr(FakeBackend, "capabilities", capabilities)
    assert cinelet("models", "show", "fake:x", "--json").json["examples"] == ["a gull", "two gulls"]
    lines = cinelet("models", "show", "fake:x").out.splitlines()
    assert lines[-2:] == ["examples         a gull", "                 two gulls"]


def test_probe_measures_a_file(cinelet: Command) -> None:
    cinelet("generate", "a", "--model", "fake:x", "--duration", "1", "-o", "a.mp4")
    probed = cinelet("probe", "a.mp4", "--json").json
    assert (probed["resolution"], probed["fps"], probed["frames"], probed["codec"]) == ("64x48", 8.0, 8, "h264")
    assert "resolution  64x48" in cinelet("probe", "a.mp4").out.splitlines()


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [("no.mp4", 2, "does not exist"), (".", 2, "is not a file"), ("text.mp4", 1, "text.mp4")],
)
def test_probe_refuses_what_is_no_video(cinelet: Command, bare: Path, name: str, code: int, message: str) -> None:
    (bare / "text.mp4").write_text("not a video")
    done = cinelet("probe", name)
    assert done.code == code
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
