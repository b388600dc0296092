from __future__ import annotations

import pytest

from cinelet.domain.money import money


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0, "0 USD"),
        (0.000001, "0.000001 USD"),
        (0.0042, "0.0042 USD"),
        (0.05, "0.05 USD"),
        (0.123456, "0.123 USD"),
        (0.5, "0.50 USD"),
        (12.5, "12.50 USD"),
        (1234.567, "1,234.57 USD"),
    ],
)
def test_an_amount_has_as_many_digits_as_tell_something(amount: float, words: str) -> None:
    assert money(amount, "USD") == words
