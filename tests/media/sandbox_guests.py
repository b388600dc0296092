"""Functions that the sandbox's tests run in a child: some behave, some do not."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from pathlib import Path
from typing import Any


def double(number: int) -> int:
    sys.stdout.write("chatter on stdout must not spoil the result")
    return 2 * number


def look_around(_: Any) -> dict[str, Any]:
    return {"pid": os.getpid(), "variables": sorted(os.environ), "modules": sorted(sys.modules)}


def raise_value_error(message: str) -> None:
    raise ValueError(message)


def allocate(size_bytes: int) -> int:
    return len(bytearray(size_bytes))


def spin(_: Any) -> None:
    while True:
        pass


def hang(_: Any) -> None:
    threading.Event().wait()


def crash(_: Any) -> None:
    ctypes.string_at(0)


def leave(code: int) -> None:
    os._exit(code)


def write_much(path: str) -> None:
    with Path(path).open("wb") as file:
        file.writelines(bytes(1024**2) for _ in range(64))


def answer_much(size: int) -> str:
    return "x" * size
