"""What is heavy is imported when it is used, so that the package and its help are there at once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MODEL_LIBRARIES = {"torch", "diffusers", "transformers", "accelerate", "huggingface_hub"}
MEDIA_LIBRARIES = {"av", "numpy", "PIL"}


def modules_loaded_by(code: str, *arguments: str) -> set[str]:
    """Run code in a new interpreter; return the top-level modules that it has loaded at its end."""
    report = "import atexit, sys; atexit.register(lambda: print('\\n' + ' '.join(sorted(sys.modules))))\n"
    # Coverage of child processes would load modules of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-c", report + code, *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in result.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize(
    "code",
    [
        "import cinelet",
        "from cinelet import Config, Context, VideoRequest, ValidationError",
        "from cinelet import VideoService, generate; VideoService()",
        "import cinelet.testing",
        "import cinelet.backends.diffusers",
    ],
)
def test_an_import_loads_no_model_library(code: str) -> None:
    assert modules_loaded_by(code).isdisjoint(MODEL_LIBRARIES)


@pytest.mark.parametrize("code", ["import cinelet", "from cinelet import VideoRequest, VideoResult, VideoService"])
def test_an_import_loads_no_media_library(code: str) -> None:
    assert modules_loaded_by(code).isdisjoint(MEDIA_LIBRARIES)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["generate", "--help"], ["version"], ["config"], ["models", "list"]], ids=" ".join
)
def test_a_command_that_makes_nothing_loads_nothing_heavy(arguments: list[str]) -> None:
    loaded = modules_loaded_by("from cinelet.cli import main; main()", *arguments)
    assert loaded.isdisjoint(MODEL_LIBRARIES | MEDIA_LIBRARIES)


def test_help_loads_neither_settings_nor_rich() -> None:
    loaded = modules_loaded_by("from cinelet.cli import main; main()", "--help")
    assert loaded.isdisjoint({"pydantic_settings", "rich"})
