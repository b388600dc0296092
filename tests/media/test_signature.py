from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinelet.media.signature import describe, kind_of

LONG_PAGE = b"<!DOCTYPE html>\n<html><head><title>504 Gateway Time-out</title></head>" + b"<p>x</p>" * 1000


@pytest.mark.parametrize(
    ("head", "phrase"),
    [
        (b"", "an empty file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image"),
        (b"\0\0\0 ftypisom\0\0\2\0", "an MP4 video"),
        (b"\0\0\0 ftypavif\0\0\0\0", "an AVIF or HEIC image"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm", "a WebM video"),
        (b'{"error": "Model is loading"}', """a JSON document ('{"error": "Model is loading"}')"""),
        (b"  <HTML><body>No</body>", "an HTML page ('<HTML><body>No</body>')"),
        (b"Bad gateway\r\n", "a text file ('Bad gateway')"),
        ("Grüße 🎬".encode(), "a text file ('Grüße 🎬')"),
        (b"\x00\x01\x02\xff\xfe", "unknown data (first bytes 00 01 02 ff fe)"),
    ],
)
def test_a_file_is_named_by_its_first_bytes(head, phrase):
    assert describe(head) == phrase


def test_a_quote_is_one_line_of_at_most_eighty_characters():
    quote = describe(LONG_PAGE).removeprefix("an HTML page ('").removesuffix("')")
    assert quote.startswith("<!DOCTYPE html> <html>")
    assert quote.endswith("...")
    assert len(quote) == 80


@pytest.mark.parametrize("head", [b"TOKEN=abc123", b'{"key": "abc123"}', b"<html>abc123", b"\x00\x01abc123"])
def test_a_file_that_may_hold_secrets_is_named_without_its_content(head):
    phrase = describe(head, quote=False)
    assert "(" not in phrase
    assert phrase == describe(head).partition(" (")[0]


def test_the_head_of_a_long_json_document_is_known_for_json():
    document = json.dumps({"items": [{"name": f"n{number}", "size": number} for number in range(1000)]}).encode()
    assert {kind_of(document[:length]) for length in range(100, 160)} == {"JSON document"}


def test_text_that_is_cut_within_a_character_is_still_text():
    assert kind_of("€€€".encode()[:-1]) == "text file"


@settings(deadline=None)  # the machine may be busy
@given(st.binary(max_size=200))
def test_any_bytes_are_described_in_one_short_printable_line(head):
    phrase = describe(head)
    assert phrase.isprintable()
    assert len(phrase) < 200


def test_a_json_document_that_is_too_deep_to_be_read_is_known_for_one():
    assert kind_of(b"[" * 4096) == "JSON document"
