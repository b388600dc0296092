"""The cache and the limits as the environment configures them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import cinelet
from cinelet import assembly
from cinelet.backends.registry import BackendRegistry
from cinelet.config import Config
from cinelet.domain.backend import Capabilities
from cinelet.domain.lora import Lora
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task, VideoRequest
from cinelet.domain.video import VideoResult
from cinelet.resilience import BreakerBackend, LimitBackend
from cinelet.storage.blobs import BlobStore
from cinelet.storage.errors import StorageError
from cinelet.storage.folder import FolderStore
from cinelet.testing import FakeBackend
from tests.doors import door_with

REQUEST = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="a red circle", model="fake:x", duration=1, seed=3)


@pytest.fixture(autouse=True)
def with_a_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CINELET_CACHE_SIZE", "1000000")
    monkeypatch.setenv("CINELET_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("CINELET_STORAGE_URL", raising=False)


def two_videos(backend: FakeBackend, config: Config | None = None) -> list[VideoResult]:
    async def both() -> list[VideoResult]:
        async with assembly.VideoService(config=config, backend=backend) as service:
            return [await service.generate(REQUEST) for _ in range(2)]

    return asyncio.run(both())


def test_what_was_made_once_is_kept_in_the_data_folder(tmp_path: Path) -> None:
    backend = FakeBackend()
    assert [video.cache for video in two_videos(backend)] == ["made", "hit"]
    assert len(list((tmp_path / "data" / "storage" / "cache").rglob("*.mp4"))) == 1
    assert [video.cache for video in two_videos(backend)] == ["hit", "hit"]
    assert len(backend.requests) == 1


def test_one_line_uses_it_too() -> None:
    with door_with(FakeBackend()) as backend:
        made = [cinelet.generate("a red circle", model="fake:x", duration=1, seed=3, cache=mode).cache
                for mode in ("use", "use", "refresh", "off")]  # fmt: skip
    assert made == ["made", "hit", "made", "off"]
    assert len(backend.requests) == 3


def test_a_service_that_is_only_made_opens_nothing(tmp_path: Path) -> None:
    assembly.VideoService(backend=FakeBackend())
    assert not (tmp_path / "data").exists()


def test_a_size_of_nothing_keeps_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CINELET_CACHE_SIZE", "0")
    assert [video.cache for video in two_videos(FakeBackend())] == ["off", "off"]
    assert not (tmp_path / "data").exists()


def test_two_first_requests_open_one_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[BlobStore] = []
    open_blob_store = assembly.open_blob_store

    def counted(config: Config) -> BlobStore:
        opened.append(open_blob_store(config))
        return opened[-1]

    monkeypatch.setattr(assembly, "open_blob_store", counted)

    async def both() -> list[VideoResult]:
        async with assembly.VideoService(backend=FakeBackend()) as service:
            return await asyncio.gather(*(service.generate(REQUEST) for _ in range(2)))

    results = asyncio.run(both())
    assert len(opened) == 1
    assert [result.cache for result in results].count("made") == 1


def test_a_store_that_cannot_be_opened_costs_a_warning_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    answers: list[BlobStore | StorageError] = [StorageError("The bucket is away"), FolderStore(tmp_path / "store")]

    def opened(_: Config) -> BlobStore:
        answer = answers.pop(0)
        if isinstance(answer, StorageError):
            raise answer
        return answer

    monkeypatch.setattr(assembly, "open_blob_store", opened)
    assert [video.cache for video in two_videos(FakeBackend())] == ["off", "made"]
    assert "The cache cannot be opened" in caplog.text


def test_a_data_folder_that_cannot_be_written_costs_no_video(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CINELET_DATA_DIR", str(tmp_path / "file"))
    assert [video.cache for video in two_videos(FakeBackend())] == ["made", "made"]


def test_the_blob_store_is_where_the_settings_say(tmp_path: Path) -> None:
    store = assembly.open_blob_store(Config(cinelet_storage_url=str(tmp_path / "elsewhere")))
    assert isinstance(store, FolderStore)
    assert store.root == tmp_path / "elsewhere"


class Changing(FakeBackend):
    """A backend whose model changes."""

    def __init__(self) -> None:
        super().__init__()
        self.state = "first"

    async def revision(self, _: ModelReference) -> str | None:
        return self.state


@pytest.mark.parametrize("through_the_registry", [True, False])
def test_a_model_that_changed_is_made_anew(through_the_registry: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Changing()
    if through_the_registry:
        registry = BackendRegistry({"fake": lambda: backend}, plugins=dict)
        monkeypatch.setattr(assembly, "make_registry", lambda _config: registry)

    async def three() -> list[str]:
        async with assembly.VideoService(backend=None if through_the_registry else backend) as service:
            found = [(await service.generate(REQUEST)).cache for _ in range(2)]
            backend.state = "second"
            return [*found, (await service.generate(REQUEST)).cache]

    assert asyncio.run(three()) == ["made", "hit", "made"]


def test_a_lora_has_a_revision_through_all_parts(tmp_path: Path) -> None:
    path = tmp_path / "style.safetensors"
    path.write_bytes(b"style")

    async def state() -> str | None:
        async with assembly.VideoService() as service:
            return await service._lora_revision(Lora(path=str(path)))

    assert str(asyncio.run(state())).startswith("5-")


def test_the_embedded_model_has_a_revision_through_all_parts() -> None:
    async def both() -> list[str | None]:
        async with assembly.VideoService() as service:
            return [await service._revision(ModelReference.parse(name)) for name in ("embedded", "hf:org/name:fal-ai")]

    embedded, remote = asyncio.run(both())
    assert embedded
    assert remote is None


def test_hosts_are_limited_only_where_the_settings_say() -> None:
    def around_the_retry(config: Config) -> object:
        traced = assembly.make_backend(config)._backend  # type: ignore[attr-defined]
        return traced._backend

    assert isinstance(around_the_retry(Config()), BreakerBackend)
    limited = around_the_retry(Config(cinelet_provider_limits={"fal-ai": 2}))
    assert isinstance(limited, LimitBackend)
    assert isinstance(limited._backend, BreakerBackend)


def test_a_limited_service_answers_as_before() -> None:
    async def asked() -> Capabilities:
        async with assembly.VideoService(config=Config(cinelet_provider_limits={"fal-ai": 2})) as service:
            return await service.capabilities("embedded")

    assert asyncio.run(asked()).model == "embedded"
