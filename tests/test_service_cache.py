"""The service and its cache: what was made once is not made again, and a store that fails costs no video."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.errors import CapacityError, CineletError, GenerationCancelledError
from cinelet.domain.lora import Lora
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task, VideoRequest
from cinelet.domain.video import VideoResult
from cinelet.resilience import Price, PriceTable
from cinelet.service import VideoService
from cinelet.storage.cache import VideoCache
from cinelet.storage.errors import StorageDeniedError, StorageError
from cinelet.storage.folder import FolderStore
from cinelet.storage.video_key import video_key
from cinelet.testing import FakeBackend, example_image

DEFAULTS = {Task.TEXT_TO_VIDEO: "fake:text", Task.IMAGE_TO_VIDEO: "fake:image"}


def request(**values: Any) -> VideoRequest:
    fields = {"task": Task.TEXT_TO_VIDEO, "prompt": "a red circle", "duration": 1, "seed": 7}
    return VideoRequest(**{**fields, **values})


class Unwritable(FolderStore):
    """A store of which every operation fails."""

    def __init__(self, root: Path, error: CineletError) -> None:
        super().__init__(root)
        self.error = error

    async def get_bytes(self, key: str) -> bytes:  # noqa: ARG002
        raise self.error

    async def put_file(self, *_: Any, **__: Any) -> Any:
        raise self.error

    async def put_bytes(self, *_: Any, **__: Any) -> bool:
        raise self.error


class Gated(FakeBackend):
    """Waits for everybody before it makes anything."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.contexts: list[Context] = []

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        self.contexts.append(context)
        await self.gate.wait()
        return await super().generate(request, context)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made; whatever is left there was forgotten."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> VideoCache:
    return VideoCache(FolderStore(tmp_path / "store"), max_bytes=10_000_000)


def service(backend: FakeBackend, **parts: Any) -> VideoService:
    return VideoService(backend, default_models=DEFAULTS, **parts)


def generated(
    service: VideoService, *requests: VideoRequest, one_by_one: bool = True
) -> tuple[list[str], list[VideoResult]]:
    """Return where each result came from, and the results."""

    async def all_of_them() -> list[VideoResult]:
        if one_by_one:
            return [await service.generate(request) for request in requests]
        return await asyncio.gather(*map(service.generate, requests))

    results = asyncio.run(all_of_them())
    return [result.cache for result in results], results


def test_a_request_with_a_seed_is_made_once(cache: VideoCache) -> None:
    backend = FakeBackend()
    how, (first, again) = generated(service(backend, cache=cache), request(), request())
    assert how == ["made", "hit"]
    assert len(backend.requests) == 1
    assert again.read_bytes() == first.read_bytes()
    for name in ("facts", "model", "requested_model", "seed", "adjustments", "timings", "generation_time"):
        assert getattr(again, name) == getattr(first, name)
    assert again.applied == first.applied


def test_another_process_finds_it_too(cache: VideoCache) -> None:
    generated(service(FakeBackend(), cache=cache), request())
    later = VideoCache(FolderStore(cache.store.root), max_bytes=10_000_000)  # type: ignore[attr-defined]
    backend = FakeBackend()
    assert generated(service(backend, cache=later), request())[0] == ["hit"]
    assert backend.requests == []


def test_a_hit_opens_no_video(cache: VideoCache) -> None:
    generated(service(FakeBackend(), cache=cache), request())

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the facts are known")

    assert generated(service(FakeBackend(), cache=cache, probe=refuse), request())[0] == ["hit"]


def test_the_file_of_a_hit_lies_in_the_folder_of_the_context(cache: VideoCache, tmp_path: Path) -> None:
    made = service(FakeBackend(), cache=cache)
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        result = asyncio.run(made.generate(request(), Context(folder)))
        assert [result.path] == list(folder.iterdir())


def test_the_result_holds_the_request_of_its_caller(cache: VideoCache) -> None:
    made = service(FakeBackend(), cache=cache)
    _, results = generated(made, request(), request(preset="medium"), request(model="fake:text"))
    assert [result.cache for result in results] == ["made", "hit", "hit"]
    assert [result.request.preset for result in results] == [None, "medium", None]


def test_everything_that_changes_the_video_is_another_entry(cache: VideoCache) -> None:
    others = [request(fps=9), request(preset="high"), request(prompt="a blue circle"), request(model="fake:other")]
    assert set(generated(service(FakeBackend(), cache=cache), request(), *others)[0]) == {"made"}


def test_a_video_of_a_chosen_seed_is_found_by_it(cache: VideoCache) -> None:
    made = service(FakeBackend(), cache=cache)
    how, (first, second) = generated(made, request(seed=None), request(seed=None))
    assert how == ["made", "made"]
    assert first.seed != second.seed
    assert generated(made, request(seed=second.seed))[0] == ["hit"]


def test_refresh_makes_it_anew_and_off_neither_looks_nor_keeps(cache: VideoCache) -> None:
    backend = FakeBackend()
    made = service(backend, cache=cache)
    how, _ = generated(made, request(cache="off"), request(), request(cache="refresh"), request(cache="off"), request())
    assert how == ["off", "made", "made", "off", "hit"]
    assert len(backend.requests) == 4


def test_without_a_cache_everything_is_made_and_nothing_kept(tmp_path: Path) -> None:
    how, _ = generated(service(FakeBackend()), request(), request(cache="refresh"))
    assert how == ["off", "off"]
    assert list(tmp_path.iterdir()) == [tmp_path / "temporary"]


def test_identical_requests_in_flight_are_made_once(cache: VideoCache, tmp_path: Path, temporary: Path) -> None:
    async def three() -> list[VideoResult]:
        backend = Gated()
        made = service(backend, cache=cache)
        folders = [tmp_path / name for name in "abc"]
        for folder in folders:
            folder.mkdir()
        tasks = [asyncio.create_task(made.generate(request(), Context(folder))) for folder in folders]
        while not backend.contexts:  # noqa: ASYNC110  (threads look into the store meanwhile)
            await asyncio.sleep(0.001)
        backend.gate.set()
        results = await asyncio.gather(*tasks)
        assert len(backend.requests) == 1
        assert [result.path.parent for result in results] == folders
        return results

    results = asyncio.run(three())
    assert sorted(result.cache for result in results) == ["joined", "joined", "made"]
    assert len({result.read_bytes() for result in results}) == 1
    assert list(temporary.iterdir()) == []


def test_a_cancel_reaches_the_backend_through_the_cache(cache: VideoCache, tmp_path: Path) -> None:
    async def cancelled() -> list[Context]:
        backend = Gated()
        context = Context(tmp_path)
        task = asyncio.create_task(service(backend, cache=cache).generate(request(), context))
        while not backend.contexts:  # noqa: ASYNC110  (threads look into the store meanwhile)
            await asyncio.sleep(0.001)
        context.cancel()
        with pytest.raises(GenerationCancelledError):
            await task
        return backend.contexts

    (inner,) = asyncio.run(cancelled())
    assert inner.cancelled


def test_the_specifications_methods_use_it_and_say_so(cache: VideoCache) -> None:
    made = service(FakeBackend(), cache=cache)

    async def videos() -> Sequence[dict[str, Any]]:
        first = await made.generate_text_to_video("a", duration=1)
        kept = await made.generate(request(prompt="a", num_inference_steps=50, seed=first["seed"]))
        kept.close()
        image = await made.generate_image_to_video(example_image(), duration=1, cache="off")
        return first, kept.to_dict(), image

    assert [video["cache"] for video in asyncio.run(videos())] == ["made", "hit", "off"]


def test_a_damaged_video_is_made_again(cache: VideoCache, caplog: pytest.LogCaptureFixture) -> None:
    made = service(FakeBackend(), cache=cache)
    generated(made, request())
    (video,) = Path(cache.store.root).rglob("*.mp4")  # type: ignore[attr-defined]
    content = bytearray(video.read_bytes())
    content[len(content) // 2] ^= 1
    video.write_bytes(content)
    how, results = generated(made, request(), request())
    assert how == ["made", "hit"]
    assert results[0].facts.sha256 == results[1].facts.sha256
    assert "damaged" in " ".join(str(getattr(record, "reason", "")) for record in caplog.records)


@pytest.mark.parametrize(
    "error", [StorageError("The store is away"), StorageDeniedError("read-only"), CapacityError("The disk is full")]
)
def test_a_store_that_fails_costs_a_warning_and_no_video(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: CineletError
) -> None:
    cache = VideoCache(Unwritable(tmp_path / "store", error), max_bytes=10_000_000)
    how, results = generated(service(FakeBackend(), cache=cache), request(), request())
    assert how == ["made", "made"]
    assert all(result.read_bytes() for result in results)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert {getattr(record, "reason", "") for record in warnings} == {error.message}


@pytest.mark.parametrize(
    "prepare",
    [lambda root: root.write_text("a file"), lambda root: root.mkdir(mode=0o555)],
    ids=["a file", "a folder that is only read"],
)
def test_a_folder_that_cannot_be_written_costs_no_video(tmp_path: Path, prepare: Callable[[Path], object]) -> None:
    root = tmp_path / "store"
    prepare(root)
    cache = VideoCache(FolderStore(root), max_bytes=10_000_000)
    _, (result,) = generated(service(FakeBackend(), cache=cache), request())
    assert result.read_bytes()


def test_a_model_that_changed_is_another_one(cache: VideoCache) -> None:
    asked: list[str] = []
    now = "first"

    async def revision(model: ModelReference) -> str | None:
        asked.append(str(model))
        return now

    made = service(FakeBackend(), cache=cache, revision=revision)
    assert generated(made, request(), request())[0] == ["made", "hit"]
    now = "second"
    assert generated(made, request(), request())[0] == ["made", "hit"]
    assert set(asked) == {"fake:text"}


def test_a_lora_or_an_upscaler_that_changed_makes_another_video(cache: VideoCache) -> None:
    states = {"fake:text": "model", "local:org/larger": "first", "./style.safetensors": "first", "org/style": None}

    async def revision(model: ModelReference) -> str | None:
        return states[str(model)]

    async def lora_revision(lora: Lora) -> str | None:
        return states[lora.path]

    made = service(FakeBackend(), cache=cache, revision=revision, lora_revision=lora_revision)
    loras = (Lora(path="./style.safetensors"), Lora(path="org/style", scale=0.5))
    asked = request(lora=loras, upscaler="local:org/larger")
    assert generated(made, asked, asked)[0] == ["made", "hit"]
    for name in ("./style.safetensors", "org/style", "local:org/larger"):
        states[name] = "second"
        assert generated(made, asked, asked)[0] == ["made", "hit"]
    # Neither of them is the other: what one was, the other is now.
    states |= {"org/style": "first", "./style.safetensors": "second"}
    assert generated(made, asked)[0] == ["made"]
    resolved = made.resolved(request())
    assert asyncio.run(made.cache_key(resolved)) == video_key(resolved, revision="model")


def test_a_model_that_comes_with_its_first_video_is_found_at_the_second(cache: VideoCache) -> None:
    class Downloading(FakeBackend):
        async def revision(self, _: ModelReference) -> str | None:
            return "commit" if self.requests else None

    backend = Downloading()
    assert generated(service(backend, cache=cache, revision=backend.revision), request(), request())[0] == [
        "made",
        "hit",
    ]


def test_what_is_resolved_has_the_key_of_its_video(cache: VideoCache) -> None:
    async def revision(_: ModelReference) -> str | None:
        return "commit"

    made = service(FakeBackend(), cache=cache, revision=revision, preset="low")
    resolved = made.resolved(request())
    assert (resolved.model, resolved.preset) == ("fake:text", "low")
    assert asyncio.run(made.cache_key(resolved)) == video_key(resolved, revision="commit")
    assert asyncio.run(made.cache_key(made.resolved(request(seed=None)))) is None
    assert asyncio.run(made.cache_key(made.resolved(request(cache="off")))) is None
    assert asyncio.run(service(FakeBackend()).cache_key(resolved)) is None


def test_a_video_is_paid_for_once_and_not_when_it_comes_from_the_cache(tmp_path: Path) -> None:
    prices = PriceTable(currency="EUR", models={"fake:text": Price(per_video=0.25, per_video_second=0.5)})
    cache = VideoCache(FolderStore(tmp_path), max_bytes=10**8)
    service = VideoService(FakeBackend(), default_models=DEFAULTS, cache=cache, prices=prices)

    async def costs() -> list[tuple[str, float | None, str]]:
        results = [await service.generate(request()) for _ in range(2)]
        results.append(await service.generate(request(cache="off")))
        return [(result.cache, result.cost, result.currency) for result in results]

    assert asyncio.run(costs()) == [("made", 0.75, "EUR"), ("hit", 0.0, "EUR"), ("off", 0.75, "EUR")]


def test_two_identical_requests_in_flight_are_paid_for_once(tmp_path: Path) -> None:
    prices = PriceTable(models={"fake:text": Price(per_video=1)})
    backend = Gated()
    cache = VideoCache(FolderStore(tmp_path), max_bytes=10**8)
    service = VideoService(backend, default_models=DEFAULTS, cache=cache, prices=prices)

    async def costs() -> list[float]:
        both = asyncio.gather(service.generate(request()), service.generate(request()))
        while not backend.contexts:  # noqa: ASYNC110  (a backend sets it)
            await asyncio.sleep(0.01)
        backend.gate.set()
        return sorted(result.cost or 0 for result in await both)

    assert asyncio.run(costs()) == [0, 1]
