from __future__ import annotations

from datetime import timedelta

import pytest

from cinelet.domain.errors import ValidationError
from cinelet.jobs.window import parse_window


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("1h", timedelta(hours=1)),
        ("24h", timedelta(days=1)),
        ("7d", timedelta(days=7)),
        ("30d", timedelta(days=30)),
        ("720h", timedelta(days=30)),
    ],
)
def test_a_window_is_hours_or_days(text: str, window: timedelta) -> None:
    assert parse_window(text) == window


@pytest.mark.parametrize(
    "text", ["", "24", "h", "0h", "01h", "-1h", "1.5h", "1 h", "1H", "1w", "31d", "721h", "99999h", "\u0661h", "1h\n"]
)
def test_anything_else_is_refused_with_what_can_be_written(text: str) -> None:
    with pytest.raises(ValidationError, match="is not a window; write hours or days up to 30 days, such as 1h, 24h"):
        parse_window(text)
