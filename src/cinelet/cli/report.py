"""What a person or a program is told when the work is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from cinelet.domain.errors import CineletError
    from cinelet.domain.result import Adjustment
    from cinelet.domain.video import VideoResult


class Report:
    """Collects what became of each prompt. For a person it is printed as it happens, for a program once at the end.

    image: the file that was given, to name it in the command that repeats a video.
    """

    def __init__(self, *, as_json: bool, quiet: bool, image: Path | None) -> None:
        self.failures = 0
        self._as_json = as_json
        self._quiet = quiet
        self._image = image
        self._entries: list[dict[str, Any]] = []

    def note(self, text: str) -> None:
        """Say something beside the result, on stderr."""
        if text and not self._quiet:
            typer.echo(text, err=True)

    def add(self, result: VideoResult, saved: Path) -> None:
        """Take a video that was saved."""
        # Without --output: the name is taken now, and a repetition should neither ask nor fail.
        command = result.command(image=str(self._image or "IMAGE"))
        self._entries.append({**result.to_dict(), "path": str(saved), "command": command})
        if not self._as_json and not self._quiet:
            typer.echo("\n".join(_lines(result, saved, command)))

    def add_failure(self, error: CineletError, *, name: str) -> None:
        """Take one failed video of several; the others go on."""
        self.failures += 1
        self._entries.append({"name": name, "error": error.to_dict()})
        typer.echo(f"error: {name}: {' '.join(str(error).split())}", err=True)

    def fail(self, error: CineletError) -> None:
        """Take the error that ended everything; for a person it is printed at the top door."""
        if self._as_json:
            typer.echo(json.dumps({"error": error.to_dict()}))

    def end(self, *, batch: bool) -> None:
        """Print what comes last: the object for a program, the count of several videos for a person."""
        made = len(self._entries) - self.failures
        if self._as_json:
            whole = {"videos": self._entries, "made": made, "failed": self.failures}
            typer.echo(json.dumps(whole if batch else self._entries[0]))
        elif batch and not self._quiet:
            typer.echo(f"{made} made, {self.failures} failed")


def _lines(result: VideoResult, saved: Path, command: str) -> list[str]:
    """Return the summary: the file, its facts, what was changed, how to repeat it."""
    source = "from the cache, made before" if result.cache == "hit" else "made"
    lines = [str(saved), f"  {result.summary()}, {source} in {result.generation_time:.1f} s by {result.model}"]
    lines += _costs(result)
    lines += [f"  {_change(adjustment)}" for adjustment in result.adjustments]
    if result.seed is not None:
        lines.append(f"  seed {result.seed}")
    return [*lines, f"  again: {command}"]


def _costs(result: VideoResult) -> list[str]:
    """Return what is known of the cost; nothing where there is no price for it, or nothing to pay."""
    from cinelet.domain.money import money

    known = [] if not result.cost else [f"  cost {money(result.cost, result.currency)}"]
    billed = [attempt.provider or attempt.model for attempt in result.attempts if attempt.may_be_billed]
    return known + [f"  {name} failed after it had taken the work, and may bill it" for name in billed]


def _change(adjustment: Adjustment) -> str:
    if adjustment.applied is None:
        return f"ignored {adjustment.parameter} ({adjustment.requested}): {adjustment.reason}"
    return f"adjusted {adjustment.parameter} ({adjustment.requested} -> {adjustment.applied}): {adjustment.reason}"
