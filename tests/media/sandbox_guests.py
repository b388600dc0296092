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


_calls: list[None] = []


def count(_: Any) -> int:
    _calls.append(None)
    return len(_calls)


def misbehave(how: str) -> str:
    deeds = {"crash": crash, "spin": spin, "hang": hang, "leave": leave}
    if how:
        deeds[how](3)
    return "good"


def meddle(_: Any) -> dict[str, Any]:
    try:
        os.write(9, b'{"code": 0, "output": "{}"}\n')
        wrote = True
    except OSError:
        wrote = False
    return {"read": sys.stdin.read(), "wrote": wrote}


def hang_and_say_who(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    hang(None)
