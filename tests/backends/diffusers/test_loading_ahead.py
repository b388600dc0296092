"""Models that are downloaded, loaded and forgotten before or without a video."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cinelet.backends.diffusers import DiffusersBackend
from cinelet.domain.backend import Context
from cinelet.domain.errors import (
    CapacityError,
    CineletError,
    DeadlineExceededError,
    DeviceLostError,
    GenerationCancelledError,
    ModelUnsupportedError,
)
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Progress, Stage
from tests.backends.diffusers.fake_hub import FakeHub, Repository, asked_here, files_of
from tests.backends.diffusers.test_session import Asked, Busy, request
from tests.conftest import TinyPipeline

MODEL = "org/tiny-wan"


@pytest.fixture
def backend() -> Iterator[DiffusersBackend]:
    backend = DiffusersBackend(device="cpu")
    yield backend
    asyncio.run(backend.aclose())


@pytest.fixture
def wan(tiny_pipeline: TinyPipeline) -> ModelReference:
    return ModelReference.parse(f"local:{tiny_pipeline('wan_t2v')}")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tiny_pipeline: TinyPipeline) -> Iterator[FakeHub]:
    with asked_here(monkeypatch, FakeHub({MODEL: Repository(files_of(tiny_pipeline("wan_t2v")))})) as hub:
        yield hub


def loaded(backend: DiffusersBackend) -> list[str]:
    return [model.model for model in backend.condition().models]


class Loading:
    """A load in a thread of its own."""

    def __init__(self, backend: DiffusersBackend, model: ModelReference, context: Context) -> None:
        self.error: CineletError | None = None
        self._thread = threading.Thread(target=self._load, args=[backend, model, context])
        self._thread.start()

    def _load(self, backend: DiffusersBackend, model: ModelReference, context: Context) -> None:
        try:
            asyncio.run(backend.load(model, context))
        except CineletError as error:
            self.error = error

    def wait(self) -> Loading:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self


def test_a_pull_brings_a_model_with_its_bytes_and_once_and_loads_nothing(hub: FakeHub, tmp_path: Path) -> None:
    backend = DiffusersBackend(cache_dir=tmp_path / "cache", endpoint=hub.url, device="cpu")
    seen: list[Progress] = []
    model = ModelReference.parse(f"local:{MODEL}")
    pulled = asyncio.run(backend.pull(model, Context(tmp_path, on_progress=seen.append)))
    sizes = {file: file.stat().st_size for file in pulled.folder.rglob("*") if file.is_file()}
    assert any(file.suffix == ".safetensors" for file in sizes)
    assert 0 < pulled.bytes <= sum(sizes.values())
    assert {progress.stage for progress in seen} == {Stage.DOWNLOADING}
    assert (seen[-1].step, seen[-1].steps) == (pulled.bytes, pulled.bytes)
    again = asyncio.run(backend.pull(model, Context(tmp_path)))
    assert (again.folder, again.bytes) == (pulled.folder, 0)
    assert loaded(backend) == []
    asyncio.run(backend.aclose())


def test_a_model_that_can_never_be_loaded_is_not_pulled(hub: FakeHub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    backend = DiffusersBackend(cache_dir=cache, endpoint=hub.url, device="cpu", model_memory=1000)
    for ahead in (backend.pull, backend.load):
        with pytest.raises(CapacityError, match=r"for its weights, and cpu has 0\.0 MB for it"):
            asyncio.run(ahead(ModelReference.parse(f"local:{MODEL}"), Context(tmp_path)))
    assert not list(cache.rglob("*.safetensors"))
    asyncio.run(backend.aclose())


def test_a_hub_model_is_forgotten_by_either_of_its_names(hub: FakeHub, tmp_path: Path) -> None:
    backend = DiffusersBackend(cache_dir=tmp_path / "cache", endpoint=hub.url, device="cpu")
    plain, local = ModelReference.parse(MODEL), ModelReference.parse(f"local:{MODEL}")
    for one, other in ((plain, local), (local, plain)):
        asyncio.run(backend.load(one, Context(tmp_path)))
        assert loaded(backend) == [str(one)]
        assert asyncio.run(backend.unload(other))
        assert loaded(backend) == []
    asyncio.run(backend.aclose())


def test_a_loaded_model_tells_its_facts_and_is_used_by_the_next_video(
    backend: DiffusersBackend, wan: ModelReference, tmp_path: Path
) -> None:
    told = asyncio.run(backend.load(wan, Context(tmp_path)))
    assert (told.model, told.device, told.placement.split(",")[0]) == (str(wan), "cpu", "float32")
    assert told.bytes is not None
    # Buffers are in no file, so what there is is a little more than what was to be expected.
    assert 100_000 < told.bytes == pytest.approx(told.estimated_bytes, rel=0.02)
    assert backend.condition().models == (told,)
    pipeline = next(iter(backend._opened_session().models._models.values())).pipeline
    Asked(backend, tmp_path / "video", request(str(wan))).made()
    assert next(iter(backend._opened_session().models._models.values())).pipeline is pipeline
    assert asyncio.run(backend.unload(wan))
    assert not asyncio.run(backend.unload(wan))


def test_unloading_does_not_load_anything(wan: ModelReference) -> None:
    backend = DiffusersBackend(device="cpu")
    assert not asyncio.run(backend.unload(wan))
    assert backend._session is None
    asyncio.run(backend.aclose())


def test_a_load_waits_until_the_device_is_free(backend: DiffusersBackend, wan: ModelReference, tmp_path: Path) -> None:
    busy = Busy(backend)
    loading = Loading(backend, wan, Context(tmp_path))
    busy.free_when_waiting(1)
    assert loading.wait().error is None
    assert loaded(backend) == [str(wan)]


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_a_load_that_waits_can_be_stopped_and_leaves_nothing(
    backend: DiffusersBackend, wan: ModelReference, tmp_path: Path, how: str
) -> None:
    busy = Busy(backend)
    context = Context(tmp_path, deadline_seconds=0.3 if how == "deadline" else None)
    loading = Loading(backend, wan, context)
    if how == "cancel":
        context.cancel()
    assert isinstance(loading.wait().error, GenerationCancelledError if how == "cancel" else DeadlineExceededError)
    busy.free_when_waiting(0)
    assert loaded(backend) == []
    assert len(backend._opened_session()._turns._waiting) == 0


def test_what_fails_to_load_leaves_nothing(backend: DiffusersBackend, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "NoSuchPipeline"}')
    with pytest.raises(ModelUnsupportedError):
        asyncio.run(backend.load(ModelReference.parse(f"local:{tmp_path}"), Context(tmp_path)))
    assert loaded(backend) == []


def test_a_device_that_is_lost_while_a_model_is_loaded_is_an_error_of_its_own(
    backend: DiffusersBackend, wan: ModelReference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any, **__: Any) -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    monkeypatch.setattr("cinelet.backends.diffusers.loading.place", lost)
    monkeypatch.setattr("cinelet.backends.diffusers.devices.answers", lambda _: False)
    with pytest.raises(DeviceLostError, match="unspecified launch failure"):
        asyncio.run(backend.load(wan, Context(tmp_path)))
    assert loaded(backend) == []
