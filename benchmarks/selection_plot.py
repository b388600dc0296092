"""The plot of `selection.py`: regret over requests, and p95, as an SVG that shows itself in light and in dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, PANEL = 960, 420, 60, 50, 480
COLOURS = {
    "balanced": "#2563eb",
    "fastest": "#d97706",
    "cheapest": "#059669",
    "ordered": "#6b7280",
    "random": "#dc2626",
    "most_reliable": "#7c3aed",
    "oracle": "#111827",
    "oracle of fastest": "#9ca3af",
}
STYLE = (
    "<style>text{fill:#111}.grid{stroke:#ddd}rect.ground{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#eee}.grid{stroke:#444}rect.ground{fill:#181818}}</style>"
)
REGRETS = ("balanced", "fastest", "cheapest", "ordered", "random")
"""Those whose regret is a share of the oracle's; that of `most_reliable` is a difference of probabilities."""


def plot(runs: Sequence[dict[str, Any]], edges: Sequence[int]) -> str:
    """Return the picture of the runs of one world. edges: requests between which regret is told."""
    named = {run["way"]: run for run in runs}
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
    ground = f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>'
    inside = [STYLE, ground, *_regrets(named, edges), *_bars(named)]
    return "\n".join([f'{head} font-family="sans-serif" font-size="12">', *inside, "</svg>"]) + "\n"


def _regrets(named: dict[str, dict[str, Any]], edges: Sequence[int]) -> list[str]:
    width, height, most, least = PANEL - LEFT - 20, HEIGHT - TOP - 60, 10.0, 0.01
    last = named["balanced"]["requests"]

    def across(requests: float) -> float:
        return LEFT + width * math.log10(max(requests, 10) / 10) / math.log10(last / 10)

    def up(regret: float) -> float:
        share = math.log(max(regret, least) / least) / math.log(most / least)
        return TOP + height * (1 - share)

    parts = [
        _text(LEFT, TOP - 20, "Regret: how much worse the first model was than the oracle's, of 1", anchor="start")
    ]
    for regret in (0.01, 0.03, 0.1, 0.3, 1, 3, 10):
        parts += [
            _line(LEFT, up(regret), LEFT + width, up(regret), "grid"),
            _text(LEFT - 8, up(regret) + 4, f"{regret:g}", anchor="end"),
        ]
    for requests in (10, 100, 1000, 10_000, 100_000, 1_000_000):
        if requests <= last:
            parts.append(_text(across(requests), TOP + height + 20, f"{requests:,}"))
    parts.append(_text(LEFT + width / 2, TOP + height + 40, "requests"))
    ends: list[tuple[float, str]] = []
    for way in REGRETS:
        points = []
        for begin, end, regret in zip(edges, [*edges[1:], last], named[way]["regret"], strict=False):
            middle = math.sqrt(max(begin, 10) * max(min(end, last), 11))
            points.append(f"{across(middle):.1f},{up(regret):.1f}")
        parts.append(f'<polyline fill="none" stroke="{COLOURS[way]}" stroke-width="2" points="{" ".join(points)}"/>')
        ends.append((float(points[-1].split(",")[1]), way))
    lowest = 0.0
    for y, way in sorted(ends):
        lowest = max(y + 4, lowest + 14)  # no name over another
        parts.append(_text(LEFT + width + 4, lowest, way, anchor="start", colour=COLOURS[way]))
    return parts


def _bars(named: dict[str, dict[str, Any]]) -> list[str]:
    left, width = PANEL + 130, WIDTH - PANEL - 230
    most = max(run["p95_seconds_a_second"] for run in named.values())
    parts = [
        _text(PANEL + 20, TOP - 20, "p95 of seconds for a second of video; success; cost of a video", anchor="start")
    ]
    for number, (way, run) in enumerate(sorted(named.items(), key=lambda one: one[1]["p95_seconds_a_second"])):
        y = TOP + 10 + number * 38
        length = width * run["p95_seconds_a_second"] / most
        parts.append(_text(left - 8, y + 15, way, anchor="end"))
        parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="22" fill="{COLOURS[way]}"/>')
        told = f"{run['p95_seconds_a_second']:.1f}; {run['success']:.2%}; {run['cost']:.3f}"
        is_short = length < width / 2
        place = {"anchor": "start"} if is_short else {"anchor": "end", "colour": "#fff"}
        parts.append(_text(left + length + (6 if is_short else -6), y + 15, told, **place))
    return parts


def _text(x: float, y: float, text: str, *, anchor: str = "middle", colour: str | None = None) -> str:
    style = f' style="fill:{colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
