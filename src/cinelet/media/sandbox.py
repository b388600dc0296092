"""Run one function of ours in a child process with limits: for work on bytes that nobody vouches for.

A native decoder that is fed hostile bytes may eat the memory, spin, hang or crash. In a child it takes nothing with it:
the parent gets a `SandboxError`, whatever happened. The child sees an empty environment, so no token either.

Starting an interpreter and loading a decoder takes a tenth of a second or more, so the child that has loaded them is
kept: for each order it forks, and the fork, limited and alone with its bytes, does the work and ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, Self

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


class Sandbox:
    """A child process that is ready to run one function, again and again; a context manager that ends it.

    The function is a top-level one of a file of ours. The child loads that file alone (not the package around it), so
    its imports are what a start costs, and `run` need not wait for them if there was time. Each order runs in a fork of
    the child, so that none sees what an earlier one left. The child ends by itself when the parent is gone.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._child = subprocess.Popen(  # noqa: S603 - our interpreter, our file
            # Isolated and without site: no variable and no .pth file changes what runs, and it starts faster.
            [sys.executable, "-I", "-S", "-X", "utf8", str(sandbox_child.__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A file, not a pipe that somebody would have to empty.
            stderr=self._complaints,
            # Windows cannot start Python without its own variables.
            env={} if os.name == "posix" else None,
            # A group of its own, which is ended as a whole.
            start_new_session=True,
        )
        self._tell(
            {
                "sys_path": [str(Path(entry or ".").absolute()) for entry in sys.path],
                "file": sys.modules[function.__module__].__file__,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def usable(self) -> bool:
        """Whether another `run` is possible: the child lives, and can fork."""
        return hasattr(os, "fork") and self._child.poll() is None

    def run(self, argument: Any, *, limits: SandboxLimits) -> Any:
        """Return `function(argument)`; blocks until it ends or a limit stops it. JSON values in and out.

        Raises `SandboxError`. One order at a time.
        """
        self._complaints.seek(0)
        self._complaints.truncate()
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._kill()

        alarm = threading.Timer(limits.wall_seconds + _START_SECONDS, stop)
        alarm.daemon = True
        alarm.start()
        try:
            self._tell({"function": self._function.__qualname__, "argument": argument, "limits": asdict(limits)})
            line = self._stream("stdout").readline(2 * limits.output_bytes)
        finally:
            alarm.cancel()
        if late.is_set():
            raise _wall_error(limits)
        complaints = _tail(self._complaints, 2000)
        try:
            answer = json.loads(line)
        except ValueError as error:
            self._kill()
            raise _crash(self._child.wait(), complaints, limits=limits) from error
        return _result(answer["code"], answer["output"], complaints, limits=limits)

    def close(self) -> None:
        """End the child, whatever it does, and wait until it is gone."""
        self._kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._complaints):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _kill(self) -> None:
        """End the child and its fork, if there is one."""
        if self._child.poll() is not None:
            return
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
        else:
            self._child.kill()

    def _stream(self, name: Literal["stdin", "stdout"]) -> IO[bytes]:
        stream = getattr(self._child, name)
        if stream is None:
            raise RuntimeError(f"the child has no {name}")
        pipe: IO[bytes] = stream
        return pipe

    def _tell(self, message: dict[str, Any]) -> None:
        stdin = self._stream("stdin")
        # A child that has died already shows why in its exit code.
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()


def run_limited(function: Callable[[Any], Any], argument: Any, *, limits: SandboxLimits) -> Any:
    """Return `function(argument)`, computed in a new `Sandbox`. Raises `SandboxError`."""
    with Sandbox(function) as sandbox:
        return sandbox.run(argument, limits=limits)


def _tail(file: IO[bytes], length: int) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - length))
    return file.read()


def _result(code: int, output: str, complaints: bytes, *, limits: SandboxLimits) -> Any:
    try:
        answer = json.loads(output)
    except ValueError as error:
        raise _crash(code, complaints, limits=limits) from error
    if code < 0:
        raise _killed_error(-code, limits)
    if "value" in answer:
        return answer["value"]
    if answer["raised"] == "MemoryError":
        raise SandboxError(f"it needed more than {limits.memory_bytes / 1024**2:,.0f} MiB of memory", "memory")
    raise SandboxError(answer["message"], "raised", raised=answer["raised"])


def _crash(code: int, complaints: bytes, *, limits: SandboxLimits) -> SandboxError:
    if code < 0:
        return _killed_error(-code, limits)
    last = complaints.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return SandboxError(f"it ended with exit code {code} ({last or 'no message'})", "crashed")


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
