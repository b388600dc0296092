"""The documents' pictures are of the page as it is."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tests.docs.documents import ROOT

IMAGES = ROOT / "docs" / "images"


def test_the_pictures_of_the_page_are_of_its_present_state() -> None:
    # Only here: the script drives a browser, which not everybody has installed.
    from docs.screenshots import digest

    assert (IMAGES / "page.sha256").read_text().strip() == digest(), "the page has changed: run `make screenshots`"


def test_a_picture_is_small_enough_for_a_repository() -> None:
    pictures: list[Path] = sorted(IMAGES.glob("page-*.png"))
    assert len(pictures) >= 5
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.width == 1280
        assert path.stat().st_size < 500_000
