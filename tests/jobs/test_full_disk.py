"""A disk that is really full: a small file system in memory, filled to the last byte."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cinelet.domain.errors import CapacityError
from cinelet.jobs.database import Database
from cinelet.jobs.errors import DatabaseError
from cinelet.jobs.ledger import JobLedger
from cinelet.jobs.states import State
from tests.jobs.shop import Shop

Mount = Callable[[int], Path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Mount]:
    """Return what makes a file system of so many megabytes."""
    mounted: list[Path] = []

    def mount(megabytes: int) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def _fill(folder: Path) -> Path:
    """Leave no byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1_000_000, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def test_a_full_store_fails_a_generation_and_keeps_nothing_half(with_shop, small_disk: Mount) -> None:
    disk = small_disk(4)

    async def work(shop: Shop):
        (disk / "store").mkdir(exist_ok=True)
        filler = _fill(disk)
        async with shop.working():
            full = await shop.ended(await shop.submit())
            left = [path for path in (disk / "store").rglob("*") if path.is_file()]
            filler.unlink()
            again = await shop.ended(await shop.queue.retry(full))
        return full, left, again

    full, left, again = with_shop(work, folder=disk)
    assert (full.state, full.error["code"]) == (State.FAILED, "no_capacity")
    assert left == []
    assert again.state is State.COMPLETED


def test_a_full_store_refuses_a_request_with_an_image(with_shop, small_disk: Mount) -> None:
    from cinelet.domain.request import Task
    from cinelet.testing import example_image

    disk = small_disk(4)

    async def work(shop: Shop):
        _fill(disk)
        with pytest.raises(CapacityError):
            await shop.submit(task=Task.IMAGE_TO_VIDEO, image=example_image())
        return await shop.ledger.list()

    assert with_shop(work, folder=disk).generations == ()


def test_a_database_without_room_says_so_and_goes_on_when_there_is_some(copy_data, small_disk: Mount) -> None:
    import asyncio

    disk = small_disk(160)
    directory = copy_data(disk / "data")

    async def work() -> tuple[int, int]:
        async with await Database.open(None, data_directory=directory) as database:
            ledger = JobLedger(database)
            before = (await ledger.insert({"prompt": "p"}, owner="o", requested_model="m")).generation
            filler, accepted = _fill(disk), 0
            refused = False
            while not refused:
                try:
                    large = {"prompt": "p", "noise": os.urandom(60_000).hex()}
                    await ledger.insert(large, owner="o", requested_model="m")
                    accepted += 1
                except DatabaseError:
                    refused = True
            filler.unlink()
            for _ in range(100):
                try:
                    await ledger.insert({"prompt": "after"}, owner="o", requested_model="m")
                    break
                except DatabaseError:
                    await asyncio.sleep(0.1)
            assert await ledger.get(before.id) is not None
            return accepted, len((await ledger.list(limit=1000)).generations)

    accepted, found = asyncio.run(work())
    assert found == accepted + 2, "what was accepted is there, and nothing else"
