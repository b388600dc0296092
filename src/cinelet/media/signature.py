"""What a file is, told from its first bytes alone: for error messages that say what came instead."""

from __future__ import annotations

import json
import re

HEAD_BYTES = 4096
"""How much of a file `describe` and `kind_of` want to see."""
MAX_QUOTED_CHARACTERS = 80
IMAGE_TYPES = {"PNG image": "image/png", "JPEG image": "image/jpeg", "WebP image": "image/webp"}
"""What a video may begin with: kinds, and their media types."""

_SIGNATURES: tuple[tuple[str, re.Pattern[bytes]], ...] = tuple(
    (kind, re.compile(pattern, re.DOTALL | re.IGNORECASE))
    for kind, pattern in (
        ("PNG image", rb"\x89PNG\r\n\x1a\n"),
        ("JPEG image", rb"\xff\xd8\xff"),
        ("WebP image", rb"RIFF....WEBP"),
        ("GIF image", rb"GIF8[79]a"),
        ("TIFF image", rb"II\*\0|MM\0\*"),
        ("BMP image", rb"BM.{4}\0\0\0\0"),
        ("AVIF or HEIC image", rb"....ftyp(?:avi[fs]|hei[cfmsx]|mif1|msf1)"),
        ("MOV video", rb"....ftypqt  "),
        ("M4A audio", rb"....ftypM4[AB] "),
        ("MP4 video", rb"....(?:ftyp|moov|mdat)"),
        ("WebM video", rb"\x1aE\xdf\xa3.{0,64}\x42\x82.webm"),
        ("Matroska video", rb"\x1aE\xdf\xa3"),
        ("AVI video", rb"RIFF....AVI "),
        ("WAV audio", rb"RIFF....WAVE"),
        ("MP3 audio", rb"ID3|\xff[\xfb\xf3\xf2]"),
        ("FLAC audio", rb"fLaC"),
        ("Ogg file", rb"OggS"),
        ("ZIP archive", rb"PK\x03\x04"),
        ("gzip archive", rb"\x1f\x8b"),
        ("PDF document", rb"%PDF-"),
        ("playlist", rb"#EXTM3U"),
        ("HTML page", rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html|head|body)\b"),
        ("XML document", rb"\s*<\?xml"),
    )
)
_QUOTED_KINDS = frozenset({"HTML page", "JSON document", "XML document", "playlist", "text file"})


def kind_of(head: bytes) -> str | None:
    """Return what a file is that starts with `head` ("PNG image", "text file"), or None if nobody knows."""
    for kind, pattern in _SIGNATURES:
        if pattern.match(head):
            return kind
    text = _text(head)
    if text is None or not text.strip():
        return None
    return "JSON document" if _looks_like_json(text) else "text file"


def describe(head: bytes, *, quote: bool = True) -> str:
    """Return a phrase for an error message: "an HTML page ('<html>...')", "an empty file", "a PNG image".

    Text is quoted: the first 80 printable characters at most, on one line. Binary data is shown as its first 8 bytes.
    quote: False to show nothing of either, of a file that may hold somebody's secrets.
    """
    if not head:
        return "an empty file"
    kind = kind_of(head)
    if kind is None:
        return f"unknown data (first bytes {head[:8].hex(' ')})" if quote else "unknown data"
    # By sound: "an HTML page", "an MP4 video"; but "a WAV".
    article = "an" if kind.startswith(("A", "HTML", "M4A", "MP3", "MP4", "O", "XML")) else "a"
    return f"{article} {kind} ({_quote(head)})" if quote and kind in _QUOTED_KINDS else f"{article} {kind}"


def _text(head: bytes) -> str | None:
    """Return the bytes as text, or None if they are none; a character cut off at the end is no objection."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(head) - error.start > 3:  # a UTF-8 character has at most four bytes
            return None
        text = head[: error.start].decode("utf-8-sig")
    return text if all(character.isprintable() or character.isspace() for character in text) else None


def _looks_like_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        # The head of a longer document is JSON up to where it was cut.
        return error.pos >= len(text.rstrip()) - 1 or error.msg.startswith("Unterminated")
    except RecursionError:
        return True
    return True


def _quote(head: bytes) -> str:
    words = " ".join((_text(head) or head.decode("utf-8", "replace")).split())
    printable = "".join(character for character in words if character.isprintable())
    cut = len(printable) > MAX_QUOTED_CHARACTERS
    return repr(printable[: MAX_QUOTED_CHARACTERS - 3] + "..." if cut else printable)
