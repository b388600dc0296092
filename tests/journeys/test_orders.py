"""A real service: a model is loaded ahead, seen, and let go; and a worker whose device is lost is replaced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.journeys.service_process import PLUGIN, ServiceProcess, environment_of, until

LOST = """
import threading
from cinelet.domain.errors import DeviceLostError

def make_lost():
    return FakeBackend(steps=2, error=DeviceLostError("AcceleratorError: unspecified launch failure"))

class Hangs(FakeBackend):
    async def aclose(self):
        threading.Event().wait()

def make_hanging():
    return Hangs(steps=2, error=DeviceLostError("AcceleratorError: unspecified launch failure"))
"""


@pytest.fixture
def data(
    tmp_path: Path, copy_data: Callable[[Path], Path], processes_of: Callable[[Path], list[int]]
) -> Iterator[Path]:
    directory = copy_data(tmp_path / "data")
    yield directory
    folder = directory / "database" / "postgres"
    left = processes_of(folder)
    if left:
        os.kill(int((folder / "postmaster.pid").read_text().splitlines()[0]), signal.SIGINT)
    assert left == []


def cinelet(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cinelet", *words]
    return subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=120, check=False)


def environment_with_lost_devices(tmp_path: Path, data: Path) -> dict[str, str]:
    environment = environment_of(tmp_path, data=data)
    site = tmp_path / "site"
    (site / "slow_videos.py").write_text(PLUGIN + LOST)
    with (site / "slow_videos-1.0.dist-info" / "entry_points.txt").open("a") as points:
        points.write("lost = slow_videos:make_lost\nhanging = slow_videos:make_hanging\n")
    return environment


@pytest.mark.slow
def test_a_model_is_loaded_at_the_start_seen_unloaded_and_loaded_by_command(tmp_path: Path, data: Path) -> None:
    environment = {**environment_of(tmp_path, data=data), "CINELET_PRELOAD": "local:./nowhere,embedded"}

    def loaded() -> list[str]:
        (worker,) = json.loads(cinelet(environment, "models", "loaded", "--json").stdout)
        return [model["model"] for model in worker["models"]]

    with ServiceProcess(environment) as service:
        until(lambda: loaded() == ["embedded"], what="the preload")
        assert "A model was not loaded ahead" in service.log
        done = cinelet(environment, "models", "unload", "embedded")
        assert (done.returncode, done.stdout[:10]) == (0, "unloaded (")
        assert loaded() == []
        done = cinelet(environment, "models", "load", "embedded")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("loaded on cpu (")
        assert loaded() == ["embedded"]
        done = cinelet(environment, "models", "load", "local:./nowhere")
        assert done.returncode == 1
        assert "nowhere" in done.stderr
        service.terminate()


@pytest.mark.slow
def test_a_worker_whose_device_is_lost_ends_with_1_and_a_line_and_another_is_started(
    tmp_path: Path, data: Path
) -> None:
    environment = environment_with_lost_devices(tmp_path, data)
    with ServiceProcess(environment) as service:
        first = service.worker("local")
        assert first is not None
        body = {"prompt": "a gull", "model": "lost:x", "duration": 1, "fps": 4}
        asked = service.client.post("/v1/text-to-video", json=body).json()
        until(lambda: "The device answers no more" in service.log, what="the loss")
        until(lambda: not first.is_running() or first.status() == "zombie", what="its end")
        until(lambda: '"status": 1' in service.log or "status=1" in service.log, what="the word of the supervisor")

        def crashed_again() -> bool:
            generation = service.client.get(asked["links"]["self"]).json()
            return bool(generation["state"] == "failed")

        until(crashed_again, seconds=120, what="three losses")
        error = service.client.get(asked["links"]["self"]).json()["error"]
        assert "3 workers were lost" in error["message"]
        lines = [line for line in service.log.splitlines() if line.startswith("error: ")]
        assert len(lines) == 3, service.log
        service.terminate()


@pytest.mark.slow
def test_a_worker_whose_device_is_lost_ends_though_its_driver_hangs(tmp_path: Path, data: Path) -> None:
    environment = environment_with_lost_devices(tmp_path, data)
    asked = cinelet(environment, "jobs", "submit", "a gull", "--model", "hanging:x", "--duration", "1")
    assert asked.returncode == 0, asked.stderr
    ended = cinelet(environment, "worker", "--queues", "local")
    assert ended.returncode == 1
    assert "error: The device answers no more" in ended.stderr
    shown = cinelet(environment, "jobs", "show", asked.stdout.strip(), "--json")
    assert json.loads(shown.stdout)["state"] == "in_progress"
