"""What all benchmarks do with their numbers: print them as Markdown, and keep them with what they depend on."""

from __future__ import annotations

import inspect
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

Row = dict[str, Any]
_Setting = TypeVar("_Setting")


def publish(
    name: str,
    sections: Mapping[str, Callable[[_Setting], list[Row]]],
    setting: _Setting,
    *,
    settings: Row,
    packages: Sequence[str],
) -> None:
    """Run each section with `setting`; print what it found, and write all of it to `benchmarks/results/`."""
    stamped = stamp(packages)
    report: Row = {"stamp": stamped, **settings}
    print(f"{stamped['machine']}; {stamped['system']}; commit {stamped['commit']}; load {stamped['load_before']}")
    for title, section in sections.items():
        report[title] = section(setting)
        print(f"\n### {title}\n\n{inspect.getdoc(section)}\n\n{table(report[title])}", flush=True)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{stamped['date'][:10]}-{stamped['commit']}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nWritten to {path.relative_to(ROOT)}")


def stamp(packages: Sequence[str]) -> Row:
    """Return what the numbers depend on: machine, versions, commit, and how busy the machine was."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S607

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "--short", "HEAD") + ("+changes" if git("status", "--porcelain", "src") else ""),
        "machine": f"{_processor()}, {os.cpu_count()} processors",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "load_before": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "versions": {package: version(package) for package in packages},
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(rows: list[Row]) -> str:
    """Return rows of one kind as a Markdown table."""

    def text(value: object) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, float):
            return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
        return str(value)

    names = list(rows[0])
    lines = [names, ["--:" if isinstance(rows[0][name], (int, float)) else "---" for name in names]]
    lines += [[text(row[name]) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
