"""When a process looks for garbage: through what is loaded as rarely as can be, for a look stops everything."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG_OBJECTS = 20_000
"""So many new objects are looked through at once, where Python's 700 cost a tenth of a request."""
_NEVER = 10**9
_lock = threading.Lock()
_old_before: list[int] = []
"""What was asked for before, once for each block that is open."""


def keep_what_is_loaded() -> None:
    """Let the collector look no more through what is there by now: all of it stays, and a look stops everything."""
    gc.freeze()


def collect_rarely() -> None:
    """Look for garbage rarely. Not for processes that hold frames or tensors, which would stay the longer."""
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


@contextmanager
def old_objects_left_alone() -> Iterator[None]:
    """Look through new objects only until the end of the block: for imports, of which nearly everything stays.

    The collector looks through all that is there again whenever it has grown by a quarter: for PyTorch, diffusers and
    transformers that is a tenth of the time that they take to import, and more where memory is slow.
    """
    with _lock:
        young, middle, old = gc.get_threshold()
        _old_before.append(_old_before[0] if _old_before else old)
        gc.set_threshold(young, middle, _NEVER)
    try:
        yield
    finally:
        with _lock:
            old = _old_before.pop()
            if not _old_before:
                gc.set_threshold(*gc.get_threshold()[:2], old)


def end_without_a_look() -> None:
    """Let the interpreter end without a look through everything, which takes a second and more where PyTorch is loaded.

    Exit handlers run as before. What only a look would find goes with the process.
    """
    gc.freeze()
    gc.disable()
