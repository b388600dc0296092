"""Make the table of the families: `make families`, or `python -m docs.families FOLDER` with what the tests found.

The tests of every family (`tests/backends/diffusers/test_every_family.py`) write a file each; these become
`findings.json` beside them, and that becomes the table of the documents. Why a pipeline is refused is asked of the
service itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cinelet.backends.diffusers.families import family_of
from tests.backends.diffusers.video_pipelines import refused_pipelines

ROOT = Path(__file__).parent.parent
FINDINGS = ROOT / "tests" / "backends" / "diffusers" / "findings.json"
DOCUMENT = ROOT / "docs" / "06-local-models.md"
BEGIN, END = "<!-- The table is made by `make families`. -->\n", "<!-- The end of the table. -->\n"
INPUTS = {"text-to-video": "text", "image-to-video": "picture"}


def gathered(folder: Path) -> dict[str, Any]:
    """Put together what the tests wrote: one file a tiny pipeline and task, one entry a pipeline."""
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.json")):
        told = json.loads(file.read_text(encoding="utf-8"))
        name = told.pop("name")
        whole = found.setdefault(name, told)
        whole["found"] |= told["found"]
    return found


def rows(findings: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Give the rows of the table: one a pipeline class that ran, by name."""
    by_class: dict[str, list[dict[str, Any]]] = {}
    for told in findings.values():
        by_class.setdefault(told["class"], []).append(told)
    for name, tiny in sorted(by_class.items()):
        tasks = [task for task in INPUTS if any(task in told["found"] for told in tiny)]
        runs = [run for told in tiny for run in told["found"].values()]
        first = tiny[0]
        yield (
            f"`{name.removesuffix('Pipeline')}`",
            ", ".join(INPUTS[task] for task in tasks),
            "as its configuration says" if first["frames_configured"] else _frames(*first["frames"]),
            _sizes(first, runs),
            f"{first['fps']:g}" if first["fps"] else "",
            "yes" if all(run["repeats"] for run in runs) else "no",
            _yes(told["compiles"] for told in tiny),
            _yes(told["caches"] for told in tiny),
            _yes(told["lora"] for told in tiny),
            "; ".join(_notes(name, first, runs)),
        )


def table(findings: Mapping[str, Any]) -> str:
    """Return the part of the document that is made: what runs, and what does not and why."""
    head = ("pipeline", "from", "frames", "sides", "fps", "repeats", "compiles", "step caches", "LoRA", "")
    lines = [_line(head), _line(("---",) * len(head)), *map(_line, rows(findings)), ""]
    lines += ["What is refused, and what the service says:", "", _line(("pipeline", "why")), _line(("---", "---"))]
    for name, reason in refused_pipelines().items():
        lines.append(_line((f"`{name.removesuffix('Pipeline')}`", reason.removeprefix(f"{name} ").partition(";")[0])))
    return "\n".join(lines) + "\n"


def written(document: str, findings: Mapping[str, Any]) -> str:
    """Return the document with its table made anew."""
    before, rest = document.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + "\n" + table(findings) + "\n" + END + after


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _yes(claims: Iterator[bool]) -> str:
    return "yes" if any(claims) else ""


def _frames(multiple: int, offset: int, minimum: int, maximum: int | None) -> str:
    k = "any" if multiple == 1 else f"{multiple}k + {offset}" if offset else f"{multiple}k"
    least = f"from {minimum}" if minimum > max(offset or multiple, 1) else ""
    return ", ".join(part for part in (k, least, f"to {maximum}" if maximum else "") if part)


def _sizes(told: Mapping[str, Any], runs: list[dict[str, Any]]) -> str:
    if any(None in run["size_changed"] for run in runs):
        return "its own"
    if any(run["few_sizes"] for run in runs):
        return "few: what the tiles of its autoencoder fill"
    return f"multiples of {told['multiple']}"


def _notes(name: str, told: Mapping[str, Any], runs: list[dict[str, Any]]) -> Iterator[str]:
    family = family_of(name)
    if family.packages:
        yield f"needs {' and '.join(f'`{package}`' for package in family.packages)}"
    if any(run["sound_left_out"] for run in runs):
        yield "its sound is left out"
    if not told["guidance"]:
        yield "no guidance"
    if family.image_flag:
        yield f"pictures if its index has `{family.image_flag}`"
    if family.video_class:
        yield "an upscaler as well"


def main() -> None:
    """Write the findings of a folder, if there is one, and the table."""
    if len(sys.argv) > 1:
        found = gathered(Path(sys.argv[1]))
        FINDINGS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    findings = json.loads(FINDINGS.read_text(encoding="utf-8"))
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8"), findings), encoding="utf-8")


if __name__ == "__main__":
    main()
