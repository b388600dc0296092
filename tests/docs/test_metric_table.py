"""The page on observability lists each metric, as it is declared."""

from __future__ import annotations

from cinelet.observability.metrics import DECLARED
from docs.metric_table import PAGE, with_table


def test_the_table_is_what_the_code_declares() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in DECLARED)
    assert with_table(page) == page, "write it anew: python -m docs.metric_table"
