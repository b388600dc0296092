"""LoRAs of the Hub: which file it is, how it comes here, and what a person hears where it does not."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cinelet.backends.diffusers import DiffusersBackend, lora_source
from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.errors import GenerationCancelledError, ModelNotFoundError, ModelUnsupportedError, ValidationError
from cinelet.domain.lora import Lora
from cinelet.domain.progress import Progress, Stage
from cinelet.domain.request import Task, VideoRequest
from tests.backends.diffusers.fake_hub import FakeHub, Repository, asked_here
from tests.backends.diffusers.tiny_lora import layers_of, write_lora
from tests.conftest import TinyPipeline

STYLE = "org/style"
DEFAULT = "pytorch_lora_weights.safetensors"


@pytest.fixture
def model(tiny_pipeline: TinyPipeline) -> Path:
    return tiny_pipeline("wan_t2v")


@pytest.fixture
def lora_bytes(model: Path, tmp_path: Path) -> bytes:
    return write_lora(tmp_path / "style.safetensors", layers_of(model), strength=2).read_bytes()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, lora_bytes: bytes) -> Iterator[FakeHub]:
    with asked_here(monkeypatch, FakeHub({STYLE: Repository({DEFAULT: lora_bytes, "README.md": b"# A style"})})) as hub:
        yield hub


@dataclass
class Place:
    """A model on this machine, and a Hub."""

    hub: FakeHub
    backend: DiffusersBackend
    model: str
    folder: Path
    seen: list[Progress] = field(default_factory=list)

    def request(self, path: str) -> VideoRequest:
        return VideoRequest(
            task=Task.TEXT_TO_VIDEO,
            prompt="a red circle",
            model=f"local:{self.model}",
            duration=1,
            fps=4,
            num_inference_steps=2,
            width=64,
            height=64,
            seed=1,
            lora=(Lora(path=path),),
        )

    def generate(self, path: str) -> GeneratedVideo:
        context = Context(Path(tempfile.mkdtemp(dir=self.folder)), on_progress=self.seen.append)
        return asyncio.run(self.backend.generate(self.request(path), context))


@pytest.fixture
def place(hub: FakeHub, model: Path, tmp_path: Path) -> Iterator[Place]:
    backend = DiffusersBackend(cache_dir=tmp_path / "cache", endpoint=hub.url, device="cpu")
    yield Place(hub, backend, str(model), tmp_path)
    asyncio.run(backend.aclose())


def test_a_lora_of_the_hub_comes_once_and_its_bytes_are_counted(place: Place, lora_bytes: bytes) -> None:
    hub, backend = place.hub, place.backend
    video = place.generate(STYLE)
    assert video.applied["lora"][0]["path"] == STYLE
    counted = [progress for progress in place.seen if progress.stage is Stage.DOWNLOADING]
    assert (counted[-1].step, counted[-1].steps) == (len(lora_bytes), len(lora_bytes))
    assert hub.fetched() == {DEFAULT}
    assert asyncio.run(backend.lora_revision(Lora(path=STYLE))) == hub.repositories[STYLE].commit
    hub.requests.clear()
    again = place.generate(STYLE)
    assert again.path.read_bytes() == video.path.read_bytes()
    assert hub.fetched() == set()


@pytest.mark.parametrize(
    ("files", "path", "fetched"),
    [
        (["styles/blue.safetensors", DEFAULT], f"{STYLE}/styles/blue.safetensors", "styles/blue.safetensors"),
        (["blue.safetensors", "old.bin"], STYLE, "blue.safetensors"),
        (["blue.safetensors", DEFAULT], STYLE, DEFAULT),
    ],
)
def test_the_file_is_the_named_one_or_the_usual_one_or_the_only_one(
    place: Place, files: list[str], path: str, fetched: str
) -> None:
    lora = place.hub.repositories[STYLE].files[DEFAULT]
    place.hub.repositories[STYLE].files = {name: lora if name == fetched else name.encode() for name in files}
    assert place.generate(path).path.is_file()
    assert place.hub.fetched() == {fetched}


@pytest.mark.parametrize(
    ("files", "path", "why"),
    [
        (["a.safetensors", "b.safetensors"], STYLE, f"has no {DEFAULT}; name one of its files: a.safetensors, b.safe"),
        (["a.safetensors"], f"{STYLE}/b.safetensors", "has no file b.safetensors; name one of its files: a.safetens"),
        (["a.bin", "a.safetensors.zip"], STYLE, "it has no .safetensors file"),
    ],
)
def test_where_it_is_not_clear_which_file_is_meant_they_are_listed(
    place: Place, files: list[str], path: str, why: str
) -> None:
    place.hub.repositories[STYLE].files = dict.fromkeys(files, b"pickle")
    with pytest.raises(ValidationError, match=why) as refused:
        place.generate(path)
    assert set(refused.value.details) == {"lora"}
    assert place.hub.fetched() == set()


def test_a_file_that_is_too_large_is_not_fetched(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_source, "MAX_LORA_BYTES", 100)
    with pytest.raises(ValidationError, match="at most 100 are loaded"):
        place.generate(STYLE)
    assert place.hub.fetched() == set()


def test_a_file_that_is_no_lora_is_refused_by_its_name(place: Place) -> None:
    place.hub.repositories[STYLE].files[DEFAULT] = b"\x80\x05pickle" * 10
    with pytest.raises(ValidationError, match="The LoRA 'org/style' cannot be used: it is no whole safetensors file"):
        place.generate(STYLE)


def test_a_repository_that_is_not_there_is_named(place: Place) -> None:
    with pytest.raises(ModelNotFoundError, match="The Hub has no model org/nothing"):
        place.generate("org/nothing")


def test_a_download_that_is_cancelled_ends(place: Place, lora_bytes: bytes) -> None:
    place.hub.stalls = True
    place.hub.repositories[STYLE].files[DEFAULT] = lora_bytes * 40
    context = Context(place.folder)

    async def cancelled() -> None:
        work = asyncio.ensure_future(place.backend.generate(place.request(STYLE), context))
        while not place.hub.fetched():
            assert not work.done(), work
            await asyncio.sleep(0.01)
        context.cancel()
        await work

    with pytest.raises(GenerationCancelledError):
        asyncio.run(asyncio.wait_for(cancelled(), 20))


def test_a_model_of_the_hub_that_takes_none_brings_neither_weights_nor_the_lora(
    place: Place, tiny_pipeline: TinyPipeline
) -> None:
    folder = tiny_pipeline("latte")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    place.hub.repositories["org/latte"] = Repository(files)
    place.model = "org/latte"
    with pytest.raises(ModelUnsupportedError, match="LattePipeline takes no LoRA"):
        place.generate(STYLE)
    assert not [name for name in place.hub.fetched() if name.endswith(".safetensors")]


def test_a_file_of_this_machine_that_is_not_there_is_named(place: Place) -> None:
    for path in ("./nowhere.safetensors", "~nobody-here/style.safetensors"):
        with pytest.raises(ValidationError, match="there is no such file"):
            place.generate(path)
