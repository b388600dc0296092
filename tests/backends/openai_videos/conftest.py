"""The fake engine: one a file of tests, as new for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends.openai_videos.fake_engine import FakeEngine


@pytest.fixture(scope="module")
def running_engine() -> Iterator[FakeEngine]:
    with FakeEngine() as engine:
        yield engine


@pytest.fixture
def engine(running_engine: FakeEngine) -> FakeEngine:
    running_engine.reset()
    return running_engine


@pytest.fixture
def engine_that_is_down() -> FakeEngine:
    with FakeEngine() as engine:
        pass
    return engine
