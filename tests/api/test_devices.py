"""Each device of a machine has a worker of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cinelet.api.devices import local_devices
from cinelet.api.supervisor import worker_commands
from cinelet.assembly import batch_size
from cinelet.backends.diffusers import devices
from cinelet.config import Config


@pytest.mark.parametrize(
    ("files", "torch", "settings", "found"),
    [
        ([], "2.13.0", {}, [None]),
        (["nvidia0", "nvidiactl"], "2.13.0", {}, [None]),
        (["nvidia0", "nvidia1", "nvidia-uvm"], "2.13.0", {}, ["cuda:0", "cuda:1"]),
        (["nvidia0", "nvidia1"], "2.13.0+cpu", {}, [None]),
        (["nvidia0", "nvidia1"], "2.13.0", {"cinelet_device": "cuda:1"}, [None]),
        (["nvidia0", "nvidia1"], "2.13.0", {"cinelet_device": "cpu"}, [None]),
        (["nvidia0", "nvidia1", "nvidia2"], "2.13.0", {"cuda_visible_devices": "0,2"}, ["cuda:0", "cuda:1"]),
        (["nvidia0", "nvidia1"], "2.13.0", {"cuda_visible_devices": "1"}, [None]),
        (["nvidia0", "nvidia1"], "2.13.0", {"cuda_visible_devices": ""}, [None]),
        (["nvidia0", "nvidia1"], "2.13.0", {"cinelet_context_parallel": 2}, [None]),
        ([f"nvidia{number}" for number in range(5)], "2.13.0", {"cinelet_context_parallel": 2}, ["cuda:0", "cuda:2"]),
        (["nvidia0"], "2.13.0", {"cinelet_context_parallel": 2}, [None]),
    ],
)
def test_the_devices_are_those_that_pytorch_would_see(  # noqa: PLR0917  (each row is one case)
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], torch: str, settings: Any, found: Any
) -> None:
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setattr(devices, "version", lambda _: torch)
    monkeypatch.setattr(devices, "_DEVICE_FILES", tmp_path)
    assert local_devices(Config(**settings)) == found


@pytest.mark.parametrize(
    ("files", "settings", "size"),
    [
        (["nvidia0"], {}, 4),
        ([], {}, 1),
        (["nvidia0"], {"cinelet_device": "cpu"}, 1),
        ([], {"cinelet_device": "cuda:1"}, 4),
        (["nvidia0"], {"cinelet_batch_size": 2}, 2),
    ],
)
def test_a_gpu_makes_several_videos_at_once_whether_it_is_named_or_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], settings: Any, size: int
) -> None:
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setattr(devices, "version", lambda _: "2.13.0")
    monkeypatch.setattr(devices, "_DEVICE_FILES", tmp_path)
    assert batch_size(Config(**settings)) == size


def test_each_device_has_a_worker_and_remote_models_have_one() -> None:
    commands = worker_commands(["remote", "local"], devices=["cuda:0", "cuda:1"])
    told = {name: words[words.index("--queues") + 1 :] for name, words in commands.items()}
    assert set(told) == {"remote", "local cuda:0", "local cuda:1"}
    assert told["local cuda:1"][0] == "local"
    assert told["local cuda:1"][-2:] == ["--device", "cuda:1"]
    assert "--device" not in told["remote"]
    assert set(worker_commands(["remote", "local"], devices=[None])) == {"remote", "local"}
