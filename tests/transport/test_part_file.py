"""A file gets its name when it is whole: at once where it is small, and beside the loop where it is large."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from cinelet.transport.part_file import SMALL_BYTES, PartFile, removed_on_failure


async def finished(path: Path, size: int) -> None:
    with removed_on_failure(path), PartFile(path, max_bytes=10 * SMALL_BYTES, check_head=None) as part:
        part.write(b"x" * size)
        await part.finish()


@pytest.mark.parametrize(("size", "beside"), [(SMALL_BYTES, False), (SMALL_BYTES + 1, True)])
def test_only_a_large_file_is_named_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, beside: bool
) -> None:
    threads: list[int] = []
    replace = Path.replace

    def noted(path: Path, target: Path) -> Path:
        threads.append(threading.get_ident())
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", noted)
    asyncio.run(finished(tmp_path / "a.mp4", size))
    assert [one != threading.get_ident() for one in threads] == [beside]
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("a.mp4", size)]


def test_a_cancel_while_a_large_file_is_named_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    replace = Path.replace

    def slow(path: Path, target: Path) -> Path:
        begun.set()
        assert go_on.wait(10)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", slow)

    async def cancelled() -> None:
        naming = asyncio.create_task(finished(tmp_path / "a.mp4", SMALL_BYTES + 1))
        await asyncio.to_thread(begun.wait, 10)
        naming.cancel()
        await asyncio.sleep(0.05)
        assert not naming.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await naming

    asyncio.run(cancelled())
    assert list(tmp_path.iterdir()) == []
