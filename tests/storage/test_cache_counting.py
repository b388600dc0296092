"""What the cache holds, moves and lets go is counted."""

from __future__ import annotations

from pathlib import Path

from cinelet.observability.metrics import REGISTRY
from tests.observability.counted import counting
from tests.storage.library import Library
from tests.storage.maker import Maker

SIZE = 10_000


def test_bytes_are_counted_in_both_directions(tmp_path: Path) -> None:
    library = Library(tmp_path, maker=Maker(size=SIZE))
    with counting() as counted:
        library.use(0)
        library.use(0)
        library.use(0)
    assert counted.of("cinelet_cache_transferred_bytes_total", direction="written") == SIZE
    assert counted.of("cinelet_cache_transferred_bytes_total", direction="read") == 2 * SIZE


def test_what_makes_room_is_counted_and_what_remains_is_known(tmp_path: Path) -> None:
    library = Library(tmp_path, maker=Maker(size=SIZE), max_bytes=35_000)
    with counting() as counted:
        for seed in range(6):
            library.use(seed)
    assert counted.of("cinelet_cache_evictions_total") == 3
    held = REGISTRY.get_sample_value("cinelet_cache_bytes")
    assert held == sum(path.stat().st_size for path in library.stored())
