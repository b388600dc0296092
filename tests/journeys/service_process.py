"""`cinelet serve` as a process of a test, with all that it starts; at the end nothing of it is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import httpx2
import psutil

START_SECONDS = 60.0

PLUGIN = """
import io

from PIL import Image

from cinelet.domain.errors import ProcessingError
from cinelet.testing import FakeBackend

def make():
    return FakeBackend(steps=10, step_seconds=0.03)

class Patient(FakeBackend):
    async def generate(self, request, context):
        if context.previews:
            picture = io.BytesIO()
            Image.new("RGB", (40, 30), "teal").save(picture, "WEBP")
            context.show(picture.getvalue())
        return await super().generate(request, context)

def make_patient():
    return Patient(steps=100, step_seconds=0.1)

def make_broken():
    return FakeBackend(steps=2, error=ProcessingError("The lens is cracked", "denoising"), error_at_step=1)
"""
SCHEMES = {"slow": "make", "patient": "make_patient", "broken": "make_broken"}


def environment_of(folder: Path, *, data: Path) -> dict[str, str]:
    """Return an environment with plugins: `slow` takes 0.3 s for a video, `patient` 10 and shows it, `broken` fails."""
    package = folder / "site" / "slow_videos-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-videos\nVersion: 1.0\n")
    points = "".join(f"{scheme} = slow_videos:{name}\n" for scheme, name in SCHEMES.items())
    (package / "entry_points.txt").write_text(f"[cinelet.backends]\n{points}")
    (package.parent / "slow_videos.py").write_text(PLUGIN)
    return {**os.environ, "PYTHONPATH": str(package.parent), "CINELET_DATA_DIR": str(data)}


def until(reached: Callable[[], bool], *, seconds: float = START_SECONDS, what: str = "it") -> None:
    """Wait until something is so, and fail where it takes too long."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, f"{what} takes longer than {seconds:g} s"
        time.sleep(0.05)


class ServiceProcess:
    """A service with its workers. port: 0 for any that is free. log: what they said."""

    def __init__(self, environment: Mapping[str, str], *, port: int = 0) -> None:
        self.log = ""
        self._port = port
        self._environment = dict(environment)
        self._known: list[psutil.Process] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cinelet", "serve", "--port", str(self._port)],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: "serves at" in self.log or self._process.poll() is not None, what="the start")
        found = re.search(r"serves at (\S+)", self.log)
        assert found, self.log
        self.url = found[1]
        self.client = httpx2.Client(base_url=self.url, timeout=60)
        until(lambda: self.client.get("/readyz").json()["checks"].get("workers", 0) >= 2, what="the start of workers")
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._look()
        # Ended in order, so that the last one stops the database; one that a test has killed is not there any more.
        self._process.terminate()
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)
        for process in self._known:
            if process.is_running():
                process.kill()
        self._reader.join(30)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def worker(self, queue: str) -> psutil.Process | None:
        """Return the process that works on a queue now."""
        for process in self._look():
            try:
                if process.cmdline()[4:6] == ["--queues", queue] or f"--queues {queue}" in " ".join(process.cmdline()):
                    return process
            except psutil.Error:
                continue
        return None

    def kill(self) -> None:
        """End the service at once, and nothing else."""
        self._look()
        self._process.kill()
        self._process.wait(30)

    def workers_left(self) -> list[psutil.Process]:
        """Return the workers that it has ever had and that still live."""
        return [process for process in self._known if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

    def terminate(self) -> float:
        """Ask it to stop, wait until it has, and return the seconds that it took."""
        self._look()
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0, self.log
        return time.monotonic() - began

    def _look(self) -> list[psutil.Process]:
        try:
            found = psutil.Process(self._process.pid).children()
        except psutil.NoSuchProcess:
            return []
        self._known += [process for process in found if process not in self._known]
        return found

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log += line
