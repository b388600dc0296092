"""The child's side of `sandbox`: a script that loads a file, waits for an order, limits itself and obeys.

Imports nothing of ours and as little as it can, since each run pays for it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import signal
import sys
from types import ModuleType
from typing import Any


def limit(limits: dict[str, Any]) -> None:
    """Lower this process' own limits, for good. Without `resource` (Windows) only the parent's wall limit holds."""
    try:
        import resource
    except ImportError:
        return
    # Also if the parent is gone and nobody else keeps the wall limit.
    signal.setitimer(signal.ITIMER_REAL, limits["wall_seconds"])
    cpu_seconds = math.ceil(limits["cpu_seconds"])
    for which, soft, hard in (
        (resource.RLIMIT_AS, limits["memory_bytes"], limits["memory_bytes"]),
        (resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1),
        (resource.RLIMIT_FSIZE, limits["output_bytes"], limits["output_bytes"]),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        # macOS knows RLIMIT_AS and refuses to set it; a hard limit may already be lower than ours.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (soft, hard))


def load(file: str) -> ModuleType:
    """Import a Python file by itself, without the package that it lies in."""
    spec = importlib.util.spec_from_file_location("sandboxed", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["sandboxed"] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Load the file that the first line of stdin names, then run the order of the second, if it comes.

    Writes `{"value": ...}` or `{"raised": ..., "message": ...}` to stdout.
    """
    preparation = json.loads(sys.stdin.readline())
    # A library that prints to stdout must not spoil the result.
    result = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path[:] = preparation["sys_path"]
    answer: dict[str, Any]
    try:
        module = load(preparation["file"])
        line = sys.stdin.readline()
        if not line:  # the parent has no work, or is gone
            return
        order = json.loads(line)
        limit(order["limits"])
        answer = {"value": getattr(module, order["function"])(order["argument"])}
    except Exception as error:  # noqa: BLE001 - the door of this process
        # av's and numpy's out-of-memory errors are subclasses of MemoryError; the parent asks for the plain name.
        name = "MemoryError" if isinstance(error, MemoryError) else type(error).__name__
        answer = {"raised": name, "message": str(error)}
    with result:
        json.dump(answer, result)


if __name__ == "__main__":
    main()
