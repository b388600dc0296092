"""Workers of a test: started, killed, frozen and stopped as processes, with the jobs that they share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import psutil

REPOSITORY = Path(__file__).parents[2]


class Farm:
    """Starts workers by the script of `worker_process`; at its end none is left."""

    def __init__(self, **script: Any) -> None:
        command = [sys.executable, "-m", "tests.journeys.worker_process", json.dumps(script)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "src")])}
        self._parent = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.workers: list[int] = []
        self.kills = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.communicate(timeout=30)
        assert not [pid for pid in self.workers if psutil.pid_exists(pid)]

    def start(self) -> int:
        """Start a worker and return its id."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write("start\n")
        self._parent.stdin.flush()
        pid = int(self._parent.stdout.readline())
        self.workers.append(pid)
        return pid

    def kill(self, pid: int) -> None:
        """End a worker at once, wherever it is."""
        os.kill(pid, signal.SIGKILL)
        self.kills += 1

    def freeze(self, pid: int) -> None:
        """Stop a worker's clock, as far as it can tell."""
        os.kill(pid, signal.SIGSTOP)

    def thaw(self, pid: int) -> None:
        """Let a frozen worker go on."""
        os.kill(pid, signal.SIGCONT)

    def terminate(self, pid: int) -> float:
        """Ask a worker to stop, wait until it has, and return the seconds that it took."""
        began = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() - began > 60:
                os.kill(pid, signal.SIGUSR1)  # it prints where it hangs
                time.sleep(1)
                raise AssertionError(f"worker {pid} does not stop")
            time.sleep(0.02)
        return time.monotonic() - began
