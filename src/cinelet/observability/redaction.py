"""Takes secrets and prompts out of text that leaves the program."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

HIDDEN = "***"
PROMPT_HIDDEN = "<prompt>"

_private_texts: ContextVar[tuple[str, ...]] = ContextVar("private_texts", default=())

_SECRET_KEY = re.compile(
    r"(?i)(token|secret|passw|authorization|api[_-]?key|cookie|credential|signature|private[_-]?key|access[_-]?key)"
)
_PROMPT_KEYS = frozenset({"prompt", "negative_prompt", "prompts"})
_SIGNING_QUERY = (
    r"(?:x-[a-z]+-(?:signature|credential|security-token)|signature|sig|policy|key-pair-id"
    r"|[a-z_-]*(?:token|key|secret|password))"
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Tokens that are known by their shape: ours, Hugging Face, OpenAI-like keys, fal.ai, Replicate, AWS key ids.
    (re.compile(r"\bcin_[A-Za-z0-9_-]{12,}"), HIDDEN),
    (re.compile(r"\b(?:api_org_|hf_)[A-Za-z0-9]{6,}"), HIDDEN),
    (re.compile(r"\b(?:sk|rk|pk)-[A-Za-z0-9_-]{12,}"), HIDDEN),
    (re.compile(r"\br8_[A-Za-z0-9]{12,}"), HIDDEN),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}:[0-9a-f]{16,}"), HIDDEN),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), HIDDEN),
    # Headers, also inside a printed dict: the scheme stays, the credential goes.
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    (
        re.compile(
            r"(?i)\b((?:proxy-)?authorization|x-api-key|api-key|set-cookie|cookie)(['\"]?\s*[:=]\s*['\"]?)(?!bearer|basic)[^'\"\r\n,}]+"
        ),
        rf"\1\2{HIDDEN}",
    ),
    # name=value and "name": "value" where the name says that the value is a secret.
    (
        re.compile(
            r"(?i)\b([a-z_-]*(?:api_?key|secret|password|passwd|access_?token|auth_?token|hf_?token))(['\"]?\s*[:=]\s*['\"]?)[^\s'\"&,;}]+"
        ),
        rf"\1\2{HIDDEN}",
    ),
    # Addresses: user and password, and what signs a link.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@'\"]+@"), rf"\1{HIDDEN}@"),
    (re.compile(rf"(?i)([?&;]{_SIGNING_QUERY}=)[^&\s'\"<>#]+"), rf"\1{HIDDEN}"),
)

_WORD = re.compile(r"(?:gen_|evt_|batch_)?[0-9a-z]{1,40}")
"""A word, or an id of ours: no pattern above fits it."""
MAX_KEPT_CHARACTERS = 200


@contextmanager
def private(*texts: str | None) -> Iterator[None]:
    """Keep these texts (prompts) out of every log line and error made inside; tasks and `to_thread` inherit it."""
    token = _private_texts.set((*_private_texts.get(), *(text for text in texts if text and text.strip())))
    try:
        yield
    finally:
        _private_texts.reset(token)


def redact(text: str) -> str:
    """Return the text without secrets, and without the prompts that are private here."""
    for prompt in sorted(_private_texts.get(), key=len, reverse=True):
        for form in {prompt, repr(prompt)[1:-1], prompt.strip()}:
            # Only as whole words: the prompt "a" must not take every "a" out of the line.
            text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", PROMPT_HIDDEN, text)
    if _WORD.fullmatch(text):
        return text
    return _without_secrets(text) if len(text) > MAX_KEPT_CHARACTERS else _kept_without_secrets(text)


def _without_secrets(text: str) -> str:
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


_kept_without_secrets = lru_cache(maxsize=512)(_without_secrets)
"""The same for short texts: most that is logged, and told of spans, is so again and again."""


def redact_value(value: Any, *, key: str = "") -> Any:
    """Return a value for a log: secrets and prompts by name hidden, texts redacted, bytes shown as their size."""
    if key.lower() in _PROMPT_KEYS and isinstance(value, str):
        return f"<prompt: {len(value)} characters>"
    if _SECRET_KEY.search(key) and not isinstance(value, int | float | None):
        return HIDDEN
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return redact(value)
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case Mapping():
            return {str(name): redact_value(item, key=str(name)) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [redact_value(item, key=key) for item in value]
        case _:
            return redact(str(value))
