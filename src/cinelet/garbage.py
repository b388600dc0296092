"""How often a process that serves for long looks for garbage."""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 20_000
"""So many new objects are looked through at once, where Python's 700 cost a tenth of a request."""


def keep_what_is_loaded() -> None:
    """Let the collector look no more through what is there by now: all of it stays, and a look stops everything."""
    gc.freeze()


def collect_rarely() -> None:
    """Look for garbage rarely. Not for processes that hold frames or tensors, which would stay the longer."""
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
