"""What is loaded, what it takes, what its device has left: told at any time, and never a reason to load anything."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cinelet.backends.diffusers import DiffusersBackend, loading, model_cache
from cinelet.backends.diffusers.devices import bytes_of, device_now
from cinelet.backends.diffusers.model_cache import ModelCache
from cinelet.backends.diffusers.model_folder import ModelFolder, open_folder
from cinelet.backends.diffusers.quiet import quiet_libraries
from cinelet.domain.backend import Context
from cinelet.domain.condition import Condition, Device, TellsCondition
from cinelet.domain.model import ModelReference
from cinelet.testing import ContractCase
from tests.conftest import TinyPipeline

SMALL = {"width": 64, "height": 64, "num_inference_steps": 1}


def lease(cache: ModelCache, folder: ModelFolder) -> None:
    with cache.lease(folder):
        pass


def test_before_anything_is_loaded_there_is_the_device_that_was_asked_for_at_most() -> None:
    code = (
        "import sys; from cinelet.backends.diffusers import DiffusersBackend\n"
        "print(DiffusersBackend().condition().device.name, DiffusersBackend(device='cuda:1').condition().device.name)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["None cuda:1", "False"]


def test_a_loaded_model_is_told_with_what_it_takes_until_it_is_forgotten(
    tiny_pipeline: TinyPipeline, tmp_path: Path
) -> None:
    backend = DiffusersBackend(device="cpu")
    assert isinstance(backend, TellsCondition)
    model = f"local:{tiny_pipeline('ltx')}"
    asyncio.run(backend.capabilities(ModelReference.parse(model)))
    assert backend.condition() == Condition(Device("cpu")), "a question loads nothing"
    asyncio.run(backend.generate(ContractCase(model, fields=SMALL).request(), Context(tmp_path)))
    (loaded,) = backend.condition().models
    assert (loaded.model, loaded.device, loaded.revision) == (model, "cpu", None)
    assert loaded.bytes is not None
    assert loaded.bytes > 1000
    asyncio.run(backend.aclose())
    assert backend.condition() == Condition(Device("cpu"))


def test_it_can_be_asked_while_a_model_is_being_loaded(
    tiny_pipeline: TinyPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ModelCache(device="cpu")
    begun, may_end, load = threading.Event(), threading.Event(), loading.load

    def slowly(folder: Any, **how: Any) -> Any:
        pipeline = load(folder, **how)
        begun.set()
        assert may_end.wait(30)
        return pipeline

    monkeypatch.setattr(model_cache, "load", slowly)
    with quiet_libraries():
        thread = threading.Thread(target=lease, args=[cache, open_folder(tiny_pipeline("ltx"), "ltx")])
        thread.start()
        assert begun.wait(30)
        assert cache.condition() == Condition(Device("cpu"))
        may_end.set()
        thread.join(30)
    assert [model.model for model in cache.condition().models] == ["ltx"]


def test_tensors_that_are_shared_take_their_memory_once() -> None:
    text = nn.Linear(10, 10, bias=False)
    tied = nn.ModuleList([text, nn.Linear(10, 10, bias=False)])
    tied[1].weight = text.weight
    tied.register_buffer("table", torch.zeros(5, dtype=torch.float16))
    assert bytes_of(tied, object(), None) == 100 * 4 + 5 * 2


def test_the_revision_of_a_hub_model_is_told(tiny_pipeline: TinyPipeline, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshots" / "c0ffee"
    snapshot.parent.mkdir()
    snapshot.symlink_to(tiny_pipeline("ltx"))
    cache = ModelCache(device="cpu")
    with quiet_libraries():
        lease(cache, open_folder(snapshot, "org/name"))
    (loaded,) = cache.condition().models
    assert (loaded.model, loaded.device, loaded.revision) == ("org/name", "cpu", "c0ffee")


def test_the_memory_of_a_cuda_device_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (60, 80))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 5)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 6)
    assert device_now("cuda:1") == Device("cuda:1", 80, 60, 5, 6)


def test_a_driver_that_fails_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def fallen_off(_: str) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", fallen_off)
    assert device_now("cuda") == Device("cuda")
    assert device_now("cpu") == Device("cpu")
