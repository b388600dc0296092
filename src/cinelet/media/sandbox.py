"""Run one function of ours in a child process with limits: for work on bytes that nobody vouches for.

A native decoder that is fed hostile bytes may eat the memory, spin, hang or crash. In a child it takes nothing with it:
the parent gets a `SandboxError`, whatever happened. The child sees an empty environment, so no token either.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from cinelet.media import sandbox_child

Reason = Literal["raised", "memory", "cpu", "wall", "crashed"]

_START_SECONDS = 5.0
"""A loaded machine may take this long to start an interpreter; that is not the function's fault."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What the child may use. The wall limit holds everywhere; the others where the platform has `resource` limits.

    memory_bytes: address space. cpu_seconds: of all its threads together. output_bytes: of its result, and of any file.
    """

    wall_seconds: float
    cpu_seconds: float
    memory_bytes: int = 2 * 1024**3
    output_bytes: int = 1024**2


class SandboxError(Exception):
    """The function gave no result. `reason` says why; `raised` is the name of its exception, if it raised one."""

    def __init__(self, message: str, reason: Reason, *, raised: str | None = None) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.raised = raised


def run_limited(function: Callable[[Any], Any], argument: Any, *, limits: SandboxLimits) -> Any:
    """Return `function(argument)`, computed in a child process; blocks until it ends or a limit stops it.

    The function is a top-level one of a file of ours. The child loads that file alone (not the package around it), so
    its imports are what a call costs. Argument and result are JSON values.
    Raises `SandboxError`.
    """
    source = sys.modules[function.__module__].__file__
    order = {
        "sys_path": [str(Path(entry or ".").absolute()) for entry in sys.path],
        "file": source,
        "function": function.__qualname__,
        "argument": argument,
        "limits": asdict(limits),
    }
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        try:
            finished = subprocess.run(  # noqa: S603 - our interpreter, our file
                # Isolated and without site: no variable and no .pth file changes what runs, and it starts faster.
                [sys.executable, "-I", "-S", "-X", "utf8", str(sandbox_child.__file__)],
                input=json.dumps(order).encode(),
                # Files, not pipes: the file size limit then also bounds what a broken child can send.
                stdout=output,
                stderr=complaints,
                # Windows cannot start Python without its own variables.
                env={} if os.name == "posix" else None,
                timeout=limits.wall_seconds + _START_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _wall_error(limits) from error
        return _result(finished.returncode, _tail(output, limits.output_bytes), _tail(complaints, 2000), limits=limits)


def _tail(file: IO[bytes], length: int) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - length))
    return file.read()


def _result(code: int, output: bytes, complaints: bytes, *, limits: SandboxLimits) -> Any:
    if code < 0:
        raise _killed_error(-code, limits)
    try:
        answer = json.loads(output)
    except ValueError as error:
        last = complaints.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise SandboxError(f"it ended with exit code {code} ({last or 'no message'})", "crashed") from error
    if "value" in answer:
        return answer["value"]
    if answer["raised"] == "MemoryError":
        raise SandboxError(f"it needed more than {limits.memory_bytes / 1024**2:,.0f} MiB of memory", "memory")
    raise SandboxError(answer["message"], "raised", raised=answer["raised"])


def _wall_error(limits: SandboxLimits) -> SandboxError:
    return SandboxError(f"it took longer than {limits.wall_seconds:g} s", "wall")


def _killed_error(number: int, limits: SandboxLimits) -> SandboxError:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    match name:
        case "SIGXCPU":
            return SandboxError(f"it took more than {limits.cpu_seconds:g} s of processor time", "cpu")
        case "SIGALRM":
            return _wall_error(limits)
        case _:
            return SandboxError(f"it was killed by {name}", "crashed")
