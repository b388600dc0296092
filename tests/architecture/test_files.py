"""One noun a file: a name predicts the content, and the content fits one reading."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_LINES = 400
SAYS_NOTHING = {"base", "common", "core", "helper", "helpers", "manager", "misc", "shared", "util", "utils"}
FILES = sorted(path for folder in ("src", "tests", "benchmarks", "training") for path in (ROOT / folder).rglob("*.py"))


def test_there_are_files() -> None:
    assert ROOT / "src" / "cinelet" / "__init__.py" in FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_and_named_after_what_it_holds(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    names = {path.stem, *path.relative_to(ROOT).parent.parts}
    words = {word for name in names for word in name.removeprefix("test_").split("_")}
    assert words.isdisjoint(SAYS_NOTHING)
