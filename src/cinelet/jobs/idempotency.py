"""When two requests are the same, and the keys by which a client says so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cinelet.domain.errors import ValidationError

MAX_IDEMPOTENCY_KEY_CHARACTERS = 255


def request_hash(request: Mapping[str, Any], requested_model: str) -> bytes:
    """Return what tells two requests apart, whatever the order of their fields."""
    text = json.dumps([request, requested_model], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).digest()


def is_storable(text: str) -> bool:
    """Tell whether a text is free of what a database or a log would choke on: NUL, half characters, line ends."""
    return text.isprintable()


def check_key(key: str) -> None:
    """Raise `ValidationError` for a key that cannot be kept."""
    if not (0 < len(key) <= MAX_IDEMPOTENCY_KEY_CHARACTERS and is_storable(key)):
        message = f"An idempotency key has 1-{MAX_IDEMPOTENCY_KEY_CHARACTERS} printable characters"
        raise ValidationError(message, {"idempotency_key": "Must be 1-255 printable characters"})
