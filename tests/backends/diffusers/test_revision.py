"""A model that changed is another one; one that did not is the same everywhere."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cinelet.backends import embedded
from cinelet.backends.diffusers import DiffusersBackend
from cinelet.domain.backend import Revises, RevisesLoras
from cinelet.domain.lora import Lora
from cinelet.domain.model import ModelReference

COMMIT, OTHER_COMMIT = "a" * 40, "b" * 40


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nobody may be asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "transformer").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (folder / "transformer" / "weights.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def backend(tmp_path: Path, model: Path) -> Iterator[DiffusersBackend]:
    backend = DiffusersBackend(directories={"embedded": model}, cache_dir=tmp_path / "hub")
    yield backend
    asyncio.run(backend.aclose())


def revision(backend: DiffusersBackend, reference: str) -> str | None:
    assert isinstance(backend, Revises)
    return asyncio.run(backend.revision(ModelReference.parse(reference)))


def snapshot(cache: Path, commit: str) -> None:
    repository = cache / "models--org--name"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "snapshots" / commit / "model_index.json").write_text("{}")
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)


@pytest.mark.parametrize("change", ["content", "time", "name", "more"])
def test_a_directory_that_changes_is_another_revision(backend: DiffusersBackend, model: Path, change: str) -> None:
    before = revision(backend, f"local:{model}")
    weights = model / "transformer" / "weights.safetensors"
    match change:
        case "content":
            weights.write_bytes(b"other weights")
        case "time":
            os.utime(weights, (1, 1))
        case "name":
            weights.rename(weights.with_name("other.safetensors"))
        case _:
            (model / "README.md").write_text("more")
    assert before is not None
    assert revision(backend, f"local:{model}") not in {before, None}


def test_a_directory_that_stays_is_the_same_revision(backend: DiffusersBackend, model: Path) -> None:
    assert revision(backend, f"local:{model}") == revision(backend, f"local:{model}")


def test_the_embedded_model_is_known_by_its_content_alone(
    backend: DiffusersBackend, model: Path, tmp_path: Path
) -> None:
    before = revision(backend, "embedded")
    assert before is not None
    for path in model.rglob("*"):
        os.utime(path, (1, 1))
    assert revision(backend, "embedded") == before
    elsewhere = DiffusersBackend(directories={"embedded": Path(shutil.copytree(model, tmp_path / "elsewhere"))})
    assert revision(elsewhere, "embedded") == before
    asyncio.run(elsewhere.aclose())


def test_weights_of_the_same_size_make_another_embedded_model(backend: DiffusersBackend, model: Path) -> None:
    before = revision(backend, "embedded")
    (model / "transformer" / "weights.safetensors").write_bytes(b"WEIGHTS")
    assert revision(backend, "embedded") != before


def test_the_model_in_the_package_has_a_revision() -> None:
    backend = DiffusersBackend(directories={"embedded": embedded.directory()})
    assert revision(backend, "embedded") is not None
    asyncio.run(backend.aclose())


@pytest.mark.parametrize("reference", ["local:org/name", "org/name"])
def test_a_hub_model_is_known_by_the_commit_that_is_here(
    backend: DiffusersBackend, tmp_path: Path, reference: str
) -> None:
    assert revision(backend, reference) is None
    snapshot(tmp_path / "hub", COMMIT)
    assert revision(backend, reference) == COMMIT
    snapshot(tmp_path / "hub", OTHER_COMMIT)
    assert revision(backend, reference) == OTHER_COMMIT


def test_a_commit_whose_files_are_not_here_is_none(backend: DiffusersBackend, tmp_path: Path) -> None:
    snapshot(tmp_path / "hub", COMMIT)
    shutil.rmtree(tmp_path / "hub" / "models--org--name" / "snapshots")
    assert revision(backend, "org/name") is None


@pytest.mark.parametrize("reference", ["local:./nowhere", "local:~nobody-here/model", "local:/", "hf:org/name:fal-ai"])
def test_what_is_no_model_here_has_none_and_raises_nothing(backend: DiffusersBackend, reference: str) -> None:
    assert revision(backend, reference) is None


def lora_revision(backend: DiffusersBackend, path: str) -> str | None:
    assert isinstance(backend, RevisesLoras)
    return asyncio.run(backend.lora_revision(Lora(path=path)))


def test_a_lora_that_changes_under_its_path_is_another_revision(backend: DiffusersBackend, tmp_path: Path) -> None:
    path = tmp_path / "style.safetensors"
    assert lora_revision(backend, str(path)) is None
    path.write_bytes(b"one")
    before = lora_revision(backend, str(path))
    assert before == lora_revision(backend, str(path)) is not None
    os.utime(path, (1, 1))
    assert lora_revision(backend, str(path)) not in {before, None}


@pytest.mark.parametrize("path", ["org/name", "org/name/style.safetensors"])
def test_a_lora_of_the_hub_is_known_by_the_commit_that_is_here(
    backend: DiffusersBackend, tmp_path: Path, path: str
) -> None:
    assert lora_revision(backend, path) is None
    snapshot(tmp_path / "hub", COMMIT)
    assert lora_revision(backend, path) == COMMIT


@pytest.mark.parametrize("path", ["~nobody-here/style.safetensors", "no lora at all"])
def test_what_is_no_lora_here_has_none_and_raises_nothing(backend: DiffusersBackend, path: str) -> None:
    assert lora_revision(backend, path) is None
