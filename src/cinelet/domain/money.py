"""Amounts of money in words."""

from __future__ import annotations

import math

DEFAULT_CURRENCY = "USD"
DECIMALS = 6
"""Digits after the point that every amount is kept with, so that sums are exact wherever they are made."""
_SIGNIFICANT = 3


def money(amount: float, currency: str) -> str:
    """Return an amount as text: "12.50 USD", "0.0042 USD", "0 USD"."""
    if not amount:
        return f"0 {currency}"
    digits = min(max(2, _SIGNIFICANT - 1 - math.floor(math.log10(abs(amount)))), DECIMALS)
    text = f"{amount:,.{digits}f}"
    whole, point, fraction = text.partition(".")
    return f"{whole}{point}{fraction.rstrip('0').ljust(2, '0')} {currency}"
