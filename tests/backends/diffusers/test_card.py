"""What a model's own card changes: above all the words of a prompt, where the model knows only a few."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinelet.backends.diffusers.card import CARD_NAME, ModelCard, read_card
from cinelet.domain.errors import ModelUnsupportedError

SHAPES = ModelCard(
    vocabulary={"color": ("red", "blue"), "shape": ("circle", "box")}, filler_words=("a", "the", "moving")
)


def test_a_prompt_of_known_words_is_read_whole() -> None:
    assert SHAPES.readable("a red circle moving") == ("a red circle moving", None)


@pytest.mark.parametrize(
    "prompt", ["A RED circle, moving.", "a   red\ncircle — moving", '"a red" circle; moving!', "a red-circle (moving)"]
)
def test_case_spaces_and_punctuation_do_not_matter(prompt: str) -> None:
    assert SHAPES.readable(prompt) == ("a red circle moving", None)


def test_a_plural_is_read_as_its_singular() -> None:
    assert SHAPES.readable("red circles") == ("red circle", None)


def test_a_plural_that_is_a_word_of_its_own_stays() -> None:
    card = ModelCard(vocabulary={"motion": ("move", "moves")})
    assert card.readable("moves move") == ("moves move", None)


def test_unknown_words_are_left_out_and_listed_once_with_what_can_be_drawn() -> None:
    text, adjustment = SHAPES.readable("A red Dragon eats the blue box; the dragon sleeps, Dragon!")
    assert text == "a red the blue box the"
    assert adjustment is not None
    assert adjustment.parameter == "prompt"
    assert adjustment.requested == "Dragon, eats, dragon, sleeps"
    assert adjustment.applied == text
    assert "color: red, blue; shape: circle, box" in adjustment.reason


@pytest.mark.parametrize("word", ["🐉", "👩‍🚀", "❤️", "龍", "дракон", "cafe\u0301", "ß", "€", "42", "it's"])
def test_emoji_signs_and_other_scripts_are_words_that_it_does_not_know(word: str) -> None:
    text, adjustment = SHAPES.readable(f"a red {word} circle")
    assert text == "a red circle"
    assert adjustment is not None
    assert adjustment.requested == word.replace("e\u0301", "é")


def test_punctuation_beside_an_emoji_is_no_part_of_it() -> None:
    _, adjustment = SHAPES.readable("a red circle (🐉), …")
    assert adjustment is not None
    assert adjustment.requested == "🐉"


def test_a_prompt_of_unknown_words_alone_leaves_an_empty_text() -> None:
    text, adjustment = SHAPES.readable("🐉🔥 sunset")
    assert text == ""
    assert adjustment is not None
    assert adjustment.requested == "🐉🔥, sunset"


@given(st.text(max_size=200))
def test_whatever_the_prompt_only_known_words_are_left(prompt: str) -> None:
    text, adjustment = SHAPES.readable(prompt)
    assert set(text.split()) <= {"red", "blue", "circle", "box", "a", "the", "moving"}
    assert SHAPES.readable(text) == (text, None)
    assert adjustment is None or adjustment.requested


@given(st.text(max_size=200))
def test_a_model_without_a_vocabulary_reads_any_prompt_as_it_is(prompt: str) -> None:
    assert ModelCard().readable(prompt) == (prompt, None)


def test_a_folder_without_a_card_has_an_empty_one(tmp_path: Path) -> None:
    assert read_card(tmp_path) == ModelCard()


def test_a_card_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / CARD_NAME).write_text(json.dumps({"native_fps": 8, "default_size": [192, 128], "license": "MIT"}))
    assert read_card(tmp_path) == ModelCard(native_fps=8, default_size=(192, 128), license="MIT")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"native_fps": 0}', "native_fps"),
        ('{"default_size": [1]}', "default_size"),
        ('{"code": "import os"}', "code"),
        ('{"native_fps": 8', "the file"),
        ("[]", "the file"),
        (b"\xff\xfe", "the file"),
        (b"[" * 100_000, "the file"),
        (b" " * 1_000_001, "larger than 1,000,000 bytes"),
    ],
)
def test_a_broken_card_is_refused_by_the_place(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    (tmp_path / CARD_NAME).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ModelUnsupportedError, match=complaint) as refused:
        read_card(tmp_path)
    assert "\n" not in str(refused.value)
