"""Finding generations by a part of their prompt, in whatever case it is written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

MAX_TEXT_CHARACTERS = 200
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def folded(text: str) -> str:
    """Return a text as it is kept to be searched in, and searched for: without case, and without what SQL cannot hold.

    Composed characters first: an accent may be a character of its own, and looks the same.
    """
    plain = unicodedata.normalize("NFC", text).casefold().replace("\0", _UNKNOWN)
    return plain.encode("utf-8", "replace").decode("utf-8")  # half characters


def folded_prompt(request: Mapping[str, Any]) -> str | None:
    """Return what a stored request is found by; None where there is nothing."""
    prompt = request.get("prompt")
    return folded(prompt) if isinstance(prompt, str) and prompt else None


def pattern(text: str) -> str:
    """Return what `LIKE` finds a text with, in what `folded` gave; each character stands for itself."""
    literal = re.sub(r"([\\%_])", r"\\\1", folded(text))
    return f"%{literal}%"
