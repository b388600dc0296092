"""The child's side of `sandbox`: a script that loads a file, waits for orders, and obeys each in a fork with limits.

Imports nothing of ours and as little as it can, since each start pays for it.
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

ANSWERS = 9
"""The file descriptor of the answers to the parent."""


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


def obey(module: ModuleType, order: dict[str, Any]) -> str:
    """Limit this process, run the order, and return `{"value": ...}` or `{"raised": ..., "message": ...}` as JSON."""
    answer: dict[str, Any]
    try:
        limit(order["limits"])
        answer = {"value": getattr(module, order["function"])(order["argument"])}
    except Exception as error:  # noqa: BLE001 - the door of this process
        # av's and numpy's out-of-memory errors are subclasses of MemoryError; the parent asks for the plain name.
        name = "MemoryError" if isinstance(error, MemoryError) else type(error).__name__
        answer = {"raised": name, "message": str(error)}
    return json.dumps(answer)


def obey_in_fork(module: ModuleType, order: dict[str, Any]) -> dict[str, Any]:
    """Run the order in a fork; return its exit code (negative: the signal that ended it) and what it wrote."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        # Neither the orders to come nor the answers to the parent are within its reach.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.close(ANSWERS)
        os.close(reader)
        with os.fdopen(writer, "w", encoding="utf-8") as pipe:
            pipe.write(obey(module, order))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        output = pipe.read(order["limits"]["output_bytes"])
    _, status = os.waitpid(pid, 0)
    return {"code": os.waitstatus_to_exitcode(status), "output": output.decode("utf-8", "replace")}


def main() -> None:
    """Load the file that the first line of stdin names, then run the orders that follow, a line each."""
    preparation = json.loads(sys.stdin.readline())
    # A library that prints to stdout must not spoil the answers.
    os.dup2(1, ANSWERS)
    os.dup2(2, 1)
    sys.path[:] = preparation["sys_path"]
    module = load(preparation["file"])
    # Until the parent is gone.
    while line := sys.stdin.readline():
        order = json.loads(line)
        answer = obey_in_fork(module, order) if hasattr(os, "fork") else {"code": 0, "output": obey(module, order)}
        os.write(ANSWERS, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
