"""Fixtures of all tests: real models, small enough to be made on the spot."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.spans import Spans, recorded

# How long an example takes says how busy the machine is: by default one of 200 ms would be a failure.
settings.register_profile("cinelet", deadline=None)
settings.load_profile("cinelet")

# Before any test imports it, in whatever order: its asserts explain themselves.
pytest.register_assert_rewrite("cinelet.testing.contract")

TinyPipeline = Callable[[str], Path]

_begun: list[object] = []
"""The module whose tests run now."""


def pytest_runtest_setup(item: pytest.Function) -> None:
    """Let the collector look no more, module by module, through what is there by then: thousands of tests, and torch.

    Each of its whole looks took a second and more otherwise, and each model that is closed wants one.
    """
    if _begun != [item.module]:
        _begun[:] = [item.module]
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep nothing in the user's data folder, and let no cached video stand for one that a test wants made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CINELET_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        patch.setenv("CINELET_CACHE_SIZE", "0")
        yield


@pytest.fixture(autouse=True)
def fresh_logs() -> None:
    """Begin with logs as the library leaves them, whatever a command did before: `caplog` hears what is passed on."""
    ours, everybodys = logging.getLogger("cinelet"), logging.getLogger()
    ours.handlers[:] = [logging.NullHandler()]
    ours.propagate = True
    ours.setLevel(logging.NOTSET)
    everybodys.handlers[:] = [one for one in everybodys.handlers if not type(one).__module__.startswith("cinelet.")]


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Record the spans of a test."""
    with recorded() as spans:
        yield spans


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Compute on one thread: many on tiny tensors only wait for each other, and the numbers would depend on them."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> TinyPipeline:  # noqa: ARG001
    """Return the folder of a tiny pipeline by its name in `tests.tiny_pipelines.TASKS`; it must stay as it is.

    Each is built once a run, by the first process that wants it. Nothing is kept for later runs: making one takes less
    time than finding out whether an old one still fits.
    """
    from filelock import FileLock

    from tests.tiny_pipelines import build

    in_worker = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp()
    shelf = (base.parent if in_worker else base) / "tiny-pipelines"
    shelf.mkdir(exist_ok=True)

    def find(name: str) -> Path:
        folder = shelf / name
        with FileLock(shelf / f"{name}.lock"):
            if not folder.exists():
                build(name, shelf / f"{name}.part")
                (shelf / f"{name}.part").rename(folder)
        return folder

    return find
