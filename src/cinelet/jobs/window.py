"""A stretch of time up to now, as people name it."""

from __future__ import annotations

import re
from datetime import timedelta

from cinelet.domain.errors import ValidationError

DEFAULT = "24h"
MOST = timedelta(days=30)
_FORM = re.compile(r"([1-9][0-9]{0,3})([hd])")


def parse_window(text: str) -> timedelta:
    """Return a window such as "1h", "24h" or "7d", at most 30 days. Raises `ValidationError`."""
    found = _FORM.fullmatch(text)
    window = timedelta(hours=int(found[1]) * (24 if found[2] == "d" else 1)) if found else None
    if window is None or window > MOST:
        message = f"{text!r:.40} is not a window; write hours or days up to {MOST.days} days, such as 1h, 24h or 7d"
        raise ValidationError(message, {"window": f"Must be such as 1h, 24h or 7d, and at most {MOST.days}d"})
    return window
