"""Pictures come with a video, are drawn where there are none, and go with it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cinelet.domain.errors import ProcessingError
from cinelet.domain.preview import FILES, SPRITESHEET, THUMBNAIL
from cinelet.jobs.generation import Generation
from cinelet.jobs.previews import preview_key
from cinelet.jobs.states import State
from cinelet.storage.errors import BlobNotFoundError, StorageError
from tests.jobs.shop import Shop


def key_of(generation: Generation) -> str:
    assert generation.result is not None
    key: str = generation.result["blob"]
    return key


def pictures_in(folder: Path) -> set[str]:
    """Return the names of the pictures in the store of a test's folder, without the video's."""
    return {path.name.partition("-")[2] for path in (folder / "store" / "previews").rglob("*") if path.is_file()}


def files_in(folder: Path) -> list[Path]:
    return [path for path in (folder / "store").rglob("*") if path.is_file()]


async def made(shop: Shop, **values: Any) -> Generation:
    async with shop.working():
        done = await shop.ended(await shop.submit(**values))
    assert done.state is State.COMPLETED
    return done


def forget_pictures(folder: Path) -> None:
    """Leave the videos in the store as an older version did."""
    shutil.rmtree(folder / "store" / "previews")


def counted(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the files that are drawn from now on."""
    draw, asked = shop.jobs.service.previews, []

    async def previews(path: Path) -> Mapping[str, bytes]:
        asked.append(path)
        return await draw(path)

    monkeypatch.setattr(shop.jobs.service, "previews", previews)
    return asked


def test_a_completed_generation_has_its_pictures(with_shop, tmp_path, monkeypatch):
    async def work(shop: Shop):
        done = await made(shop, seed=7)
        asked = counted(shop, monkeypatch)
        found = [await shop.jobs.previews.find(key_of(done), name) for name in FILES]
        return asked, [one.size > 50 for one in found]

    asked, large_enough = with_shop(work, previews=True)
    assert (asked, large_enough) == ([], [True] * 3)
    assert pictures_in(tmp_path) == set(FILES)


def test_pictures_of_an_older_video_are_drawn_once_and_kept(with_shop, tmp_path, monkeypatch):
    async def work(shop: Shop):
        done = await made(shop)
        forget_pictures(tmp_path)
        asked = counted(shop, monkeypatch)
        at_once = await asyncio.gather(*(shop.jobs.previews.find(key_of(done), name) for name in FILES * 5))
        await shop.jobs.previews.find(key_of(done), THUMBNAIL)
        return asked, {stored.key for stored in at_once}

    asked, keys = with_shop(work, previews=True)
    assert len(asked) == 1
    assert len(keys) == 3
    assert pictures_in(tmp_path) == set(FILES)


def test_where_the_store_has_no_files_the_video_is_fetched_to_be_drawn(with_shop, tmp_path, monkeypatch):
    async def work(shop: Shop):
        done = await made(shop)
        forget_pictures(tmp_path)
        monkeypatch.setattr(type(shop.jobs.store), "local_path", lambda *_: None)
        asked = counted(shop, monkeypatch)
        await shop.jobs.previews.find(key_of(done), SPRITESHEET)
        return asked

    (asked,) = with_shop(work, previews=True)
    assert not asked.parent.exists()


def test_a_cached_video_has_the_pictures_of_its_first_use(with_shop, monkeypatch):
    async def work(shop: Shop):
        first, second = await made(shop, seed=3), await made(shop, seed=3)
        asked = counted(shop, monkeypatch)
        await shop.jobs.previews.find(key_of(second), THUMBNAIL)
        return first, second, asked

    first, second, asked = with_shop(work, cache=True, previews=True)
    assert (first.result["cache"], second.result["cache"], asked) == ("made", "hit", [])


def test_pictures_go_with_the_last_generation_that_has_their_video(with_shop, tmp_path):
    async def work(shop: Shop):
        one, two = await made(shop, seed=3), await made(shop, seed=3)
        assert key_of(one) == key_of(two)
        await shop.queue.delete(one)
        assert pictures_in(tmp_path) == set(FILES)
        await shop.queue.delete(two)

    with_shop(work, previews=True)
    assert files_in(tmp_path) == []


def test_what_is_deleted_while_it_is_drawn_leaves_no_pictures(with_shop, tmp_path, monkeypatch):
    async def work(shop: Shop):
        done = await made(shop)
        forget_pictures(tmp_path)
        draw = shop.jobs.service.previews

        async def previews(path: Path) -> Mapping[str, bytes]:
            drawn = await draw(path)
            await shop.queue.delete(done)
            return drawn

        monkeypatch.setattr(shop.jobs.service, "previews", previews)
        with pytest.raises(BlobNotFoundError):
            await shop.jobs.previews.find(key_of(done), THUMBNAIL)

    with_shop(work, previews=True)
    assert files_in(tmp_path) == []


def test_what_was_deleted_just_before_it_is_used_again_is_stored_again(with_shop, tmp_path, monkeypatch):
    async def work(shop: Shop):
        old = await made(shop, seed=3)
        worker = shop.worker()
        complete = worker.ledger.complete

        async def late(*arguments: Any, **values: Any) -> None:
            await shop.queue.delete(old)
            assert files_in(tmp_path) == []
            await complete(*arguments, **values)

        monkeypatch.setattr(worker.ledger, "complete", late)
        new = await shop.submit(seed=3)
        await worker.work_on(new.id)
        return await shop.get(new)

    assert with_shop(work, previews=True).state is State.COMPLETED
    assert pictures_in(tmp_path) == set(FILES)
    assert len(files_in(tmp_path)) == 4


def test_pictures_that_cannot_be_stored_cost_no_generation(with_shop, tmp_path, monkeypatch, caplog):
    async def work(shop: Shop):
        async def refuse(*_: Any, **__: Any) -> bool:
            raise StorageError("no room for pictures")

        with monkeypatch.context() as patch:
            patch.setattr(shop.jobs.store, "put_bytes", refuse)
            done = await made(shop)
            with pytest.raises(StorageError, match="no room"):
                await shop.jobs.previews.find(key_of(done), THUMBNAIL)
        assert pictures_in(tmp_path) == set()
        await shop.jobs.previews.find(key_of(done), THUMBNAIL)

    with_shop(work, previews=True)
    assert "The pictures of a video were not kept" in caplog.text
    assert pictures_in(tmp_path) == set(FILES)


def test_a_video_that_cannot_be_drawn_is_tried_once(with_shop, tmp_path, monkeypatch):
    async def work(shop: Shop):
        done = await made(shop)
        forget_pictures(tmp_path)
        (tmp_path / "store" / key_of(done)).write_bytes(b"no video")
        asked = counted(shop, monkeypatch)
        for name in FILES:
            with pytest.raises(ProcessingError, match="not a video that can be used"):
                await shop.jobs.previews.find(key_of(done), name)
        return asked

    assert len(with_shop(work, previews=True)) == 1


def test_a_picture_is_named_after_its_video() -> None:
    sha256 = "ab" * 32
    key = preview_key(f"blobs/ab/ab/{sha256}.mp4", THUMBNAIL)
    assert key == f"previews/ab/ab/{sha256}-thumbnail.webp"


def test_a_service_that_draws_nothing_makes_videos_without_pictures(with_shop, tmp_path):
    async def work(shop: Shop):
        done = await made(shop)
        with pytest.raises(ProcessingError, match="no pictures"):
            await shop.jobs.previews.find(key_of(done), THUMBNAIL)

    with_shop(work)
    assert pictures_in(tmp_path) == set()
