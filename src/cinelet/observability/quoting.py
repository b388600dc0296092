"""What a host says, made fit to be quoted in an error of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cinelet.observability.redaction import HIDDEN, redact

MAX_QUOTED_CHARACTERS = 300
_WORDS_KEYS = ("message", "msg", "error", "detail", "details", "errors", "title", "description", "reason")


def host_text(value: Any, *, secrets: Sequence[str] = ()) -> str:
    """Return the words in a host's error (JSON values or text): one line, short, without secrets and signed links."""
    text = redact(_words(value))
    for secret in secrets:
        if secret:
            text = text.replace(secret, HIDDEN)
    text = re.sub(r"(https?://[^\s?#'\"]+)[?#][^\s'\"]*", r"\1", text)
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= MAX_QUOTED_CHARACTERS else line[: MAX_QUOTED_CHARACTERS - 3] + "..."


def _words(value: Any, *, depth: int = 4) -> str:
    """Collect what is meant for people in an error of unknown shape."""
    match value:
        case str():
            return value
        case Mapping() if depth:
            words = next((words for key in _WORDS_KEYS if (words := _words(value.get(key), depth=depth - 1))), "")
            place = value.get("loc")
            return f"{'.'.join(map(str, place))}: {words}" if words and isinstance(place, list) else words
        case list() if depth:
            return "; ".join(filter(None, (_words(item, depth=depth - 1) for item in value[:3])))
        case _:
            return ""
