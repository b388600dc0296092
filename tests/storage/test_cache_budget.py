"""The cache keeps within its bytes and its age, and removes nothing else."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.storage.library import BEGIN_SECONDS, Library
from tests.storage.maker import Maker

DAY_SECONDS = 24 * 3600


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    library = Library(tmp_path, maker=Maker(size=10_000), max_bytes=45_000)
    for seed in (0, 1, 2, 3):
        library.use(seed)
    assert library.use(0) == "hit"
    library.use(4)
    assert library.seeds(5) == [0, 2, 3, 4]
    library.use(5)
    assert library.seeds(6) == [0, 3, 4, 5]


def test_the_budget_is_kept(tmp_path: Path) -> None:
    library = Library(tmp_path, maker=Maker(size=10_000), max_bytes=35_000)
    for seed in range(12):
        library.use(seed)
        assert sum(path.stat().st_size for path in library.stored()) <= library.cache.max_bytes
    assert library.seeds(12) == [9, 10, 11]


def test_what_other_processes_store_counts(tmp_path: Path) -> None:
    one, two = (Library(tmp_path, maker=Maker(size=10_000), max_bytes=45_000) for _ in range(2))
    for seed in range(6):
        library = (one, two)[seed % 2]
        library.seconds = BEGIN_SECONDS + seed
        library.use(seed)
    assert one.seeds(6) == [2, 3, 4, 5]


def test_a_video_beyond_the_budget_is_served_and_not_kept(tmp_path: Path) -> None:
    library = Library(tmp_path, maker=Maker(size=10_000), max_bytes=5_000)
    assert library.answer().how == "made"
    assert library.stored() == []


def test_what_lies_beside_the_cache_is_never_removed(tmp_path: Path) -> None:
    library = Library(tmp_path, maker=Maker(size=10_000), max_bytes=15_000)
    (tmp_path / "precious.mp4").write_bytes(bytes(50_000))
    blob = asyncio.run(library.store.put_file(tmp_path / "precious.mp4", suffix=".mp4"))
    for seed in range(4):
        library.use(seed)
    assert (tmp_path / "store" / blob.key).stat().st_size == 50_000


@pytest.mark.parametrize(("age_seconds", "how"), [(59, "hit"), (61, "made"), (-61, "made")])
def test_what_is_too_old_is_made_again(tmp_path: Path, age_seconds: int, how: str) -> None:
    library = Library(tmp_path, ttl_seconds=60)
    library.answer()
    library.seconds += age_seconds
    assert library.answer().how == how


def test_a_use_makes_nothing_younger(tmp_path: Path) -> None:
    library = Library(tmp_path, ttl_seconds=60)
    library.answer()
    for _ in range(2):
        library.seconds += 29
        assert library.answer().how == "hit"
    library.seconds += 29
    assert library.answer().how == "made"


def test_a_sweep_removes_what_is_too_old(tmp_path: Path) -> None:
    library = Library(tmp_path, ttl_seconds=60)
    library.use(0)
    library.seconds += 40
    library.use(1)
    library.seconds += 40
    asyncio.run(library.cache.sweep())
    assert library.seeds(2) == [1]


def test_a_sweep_removes_a_video_without_an_entry_after_a_day(tmp_path: Path) -> None:
    library = Library(tmp_path)
    library.use(0)
    library.use(1)
    for seed in (0, 1):
        (library.files(seed)[0] if library.files(seed)[0].name == "entry.json" else library.files(seed)[1]).unlink()
    (young,) = library.files(1)
    library.seconds += DAY_SECONDS + 60
    os.utime(young, (library.seconds, library.seconds))
    asyncio.run(library.cache.sweep())
    assert library.seeds(2) == [1]
