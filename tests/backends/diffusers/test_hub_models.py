"""Models of the Hub, from their name to the video."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from cinelet.backends.diffusers import DiffusersBackend
from cinelet.domain.backend import Context
from cinelet.domain.errors import CapacityError, ModelUnsupportedError
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Progress, Stage
from cinelet.domain.request import Task, VideoRequest
from tests.backends.diffusers.fake_hub import FakeHub, Repository, asked_here, files_of
from tests.conftest import TinyPipeline

MODEL = "org/tiny-wan"
REQUEST = VideoRequest(
    task=Task.TEXT_TO_VIDEO,
    prompt="a red circle",
    model=f"local:{MODEL}",
    duration=1,
    fps=4,
    num_inference_steps=2,
    width=64,
    height=64,
    seed=1,
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tiny_pipeline: TinyPipeline) -> Iterator[FakeHub]:
    with asked_here(monkeypatch, FakeHub({MODEL: Repository(files_of(tiny_pipeline("wan_t2v")))})) as hub:
        yield hub


@pytest.fixture
def backend(hub: FakeHub, tmp_path: Path) -> Iterator[DiffusersBackend]:
    backend = DiffusersBackend(cache_dir=tmp_path / "cache", endpoint=hub.url, device="cpu")
    yield backend
    asyncio.run(backend.aclose())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "video"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("reference", [f"local:{MODEL}", MODEL])
def test_a_model_is_downloaded_and_used(hub: FakeHub, backend: DiffusersBackend, folder: Path, reference: str) -> None:
    seen: list[Progress] = []
    request = REQUEST.model_copy(update={"model": reference})
    video = asyncio.run(backend.generate(request, Context(folder, on_progress=seen.append)))
    assert video.path.is_file()
    assert video.revision == hub.repositories[MODEL].commit
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    assert stages[:3] == [Stage.DOWNLOADING, Stage.LOADING, Stage.DENOISING]
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)


def test_weights_in_half_precision_only_are_used(hub: FakeHub, backend: DiffusersBackend, folder: Path) -> None:
    files = hub.repositories[MODEL].files
    hub.repositories[MODEL].files = {
        name.replace(".safetensors", ".fp16.safetensors"): content for name, content in files.items()
    }
    assert asyncio.run(backend.generate(REQUEST, Context(folder))).path.is_file()


def test_capabilities_bring_no_weights(hub: FakeHub, backend: DiffusersBackend) -> None:
    capabilities = asyncio.run(backend.capabilities(ModelReference.parse(MODEL)))
    assert capabilities.tasks == {Task.TEXT_TO_VIDEO}
    assert not [name for name in hub.fetched() if name.endswith(".safetensors")]


def test_a_task_that_the_model_lacks_is_refused_before_its_weights_come(
    hub: FakeHub, backend: DiffusersBackend, folder: Path
) -> None:
    picture = BytesIO()
    Image.new("RGB", (32, 32)).save(picture, "PNG")
    request = REQUEST.model_copy(update={"task": Task.IMAGE_TO_VIDEO, "image": picture.getvalue()})
    with pytest.raises(ModelUnsupportedError, match="cannot do image-to-video"):
        asyncio.run(backend.generate(request, Context(folder)))
    assert not [name for name in hub.fetched() if name.endswith(".safetensors")]


def test_a_model_that_can_never_fit_is_refused_on_its_headers_before_its_weights_come(
    hub: FakeHub, tmp_path: Path, folder: Path
) -> None:
    backend = DiffusersBackend(cache_dir=tmp_path / "cache", endpoint=hub.url, device="cpu", model_memory=10_000)
    with pytest.raises(CapacityError, match=r"org/tiny-wan needs 0\.1 MB for its weights, and cpu has 0\.0 MB for it"):
        asyncio.run(backend.generate(REQUEST, Context(folder)))
    cached = list((tmp_path / "cache").rglob("*.safetensors"))
    assert cached == [], "only their headers were asked for"
    asyncio.run(backend.aclose())


def test_weights_in_full_precision_are_counted_as_they_would_be_loaded(
    hub: FakeHub, tmp_path: Path, folder: Path
) -> None:
    on_the_hub = sum(
        len(content) for name, content in hub.repositories[MODEL].files.items() if name.endswith("tensors")
    )
    backend = DiffusersBackend(
        cache_dir=tmp_path / "cache", endpoint=hub.url, device="cpu", model_memory=int(0.7 * on_the_hub)
    )
    video = asyncio.run(backend.generate(REQUEST, Context(folder)))
    assert video.applied["precision"] == "bfloat16"
    asyncio.run(backend.aclose())
