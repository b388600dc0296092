from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.huggingface.caller import Caller
from tests.fake_providers import FakeInternet


@pytest.fixture
def internet() -> Iterator[FakeInternet]:
    with FakeInternet() as internet:
        yield internet
    assert internet.leaks == []


@pytest.fixture
def caller(internet: FakeInternet, tmp_path: Path) -> Caller:
    return Caller(internet, tmp_path)
