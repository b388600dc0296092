"""Writes the table of metrics in `15-observability.md` anew: `python -m docs.metric_table`."""

from __future__ import annotations

import re
from pathlib import Path

from cinelet.observability.metrics import DECLARED

PAGE = Path(__file__).with_name("15-observability.md")
_TABLE = re.compile(r"(?<=<!-- metrics -->\n).*?(?=<!-- end -->)", re.DOTALL)


def table() -> str:
    """Return the table of all metrics."""
    lines = ["| metric | kind | labels | what it tells |", "|---|---|---|---|"]
    for metric in DECLARED.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.description} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """Return the page with the table as it is now."""
    return _TABLE.sub(lambda _: table(), page)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
