from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinelet.cli.output import MAX_SLUG_CHARACTERS, slug


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A red circle, moving LEFT!", "a-red-circle-moving-left"),
        ("Ünïcode — 一只猫", "ünïcode-一只猫"),
        ("../../etc/passwd", "etc-passwd"),
        ("🐈", "video"),
        ("", "video"),
        ("CON", "video-con"),
        ("a" * 100, "a" * 60),
        ("word " * 30, "-".join(["word"] * 12)),
    ],
)
def test_a_name_is_made_of_the_prompts_words(prompt: str, name: str) -> None:
    assert slug(prompt) == name


@given(st.text())
def test_a_name_is_safe_whatever_the_prompt(prompt: str) -> None:
    name = slug(prompt)
    assert 0 < len(name) <= MAX_SLUG_CHARACTERS + len("video-")
    assert len(name.encode()) <= 220
    assert not set(name) & set('/\\:*?"<>|. \0\n')
    assert not name.startswith("-")
