"""Every store of blobs keeps one contract: a folder, and a bucket of an S3-compatible server over real HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cinelet.domain.backend import Context
from cinelet.domain.errors import ValidationError
from cinelet.storage.blobs import CHUNK_BYTES, Blob, BlobStore, open_store
from cinelet.storage.cache import VideoCache
from cinelet.storage.errors import BlobCorruptError, BlobNotFoundError
from tests.storage.bucket_server import BUCKET, bucket_server, options
from tests.storage.maker import Maker, a_request

VIDEO = b"a video, to the store mere bytes " * 100_000
SHA256 = hashlib.sha256(VIDEO).hexdigest()
WRONG_KEYS = ["", "/", "/etc/passwd", "../up", "a/../b", "a/..", "a//b", "a/", ".parts/x", "a/.b", "a b", "a\\b", "ä"]
WRONG_KEYS += ["a\x00b", "a%2f..", "x" * 513, "C:/x", "a#1", "a?b", "a\n"]


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    with bucket_server() as address:
        yield address


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "folder":
        return open_store(f"file:{tmp_path / 'store'}")
    prefix = f"test-{secrets.token_hex(8)}"
    return open_store(f"s3://{BUCKET}/{prefix}", options=options(request.getfixturevalue("endpoint")))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    path.write_bytes(VIDEO)
    return path


def put(store: BlobStore, path: Path, sha256: str | None = None, folder: str | None = None) -> Blob:
    return asyncio.run(store.put_file(path, suffix=".mp4", sha256=sha256, folder=folder))


def read(store: BlobStore, key: str, start: int = 0, end: int | None = None) -> bytes:
    async def all_pieces() -> bytes:
        return b"".join([piece async for piece in await store.stream(key, start=start, end=end)])

    return asyncio.run(all_pieces())


def keys(store: BlobStore, folder: str) -> set[str]:
    return {stored.key for stored in asyncio.run(store.listed(folder))}


def test_a_file_is_stored_under_its_sha256(store: BlobStore, video: Path) -> None:
    key = f"blobs/{SHA256[:2]}/{SHA256[2:4]}/{SHA256}.mp4"
    assert put(store, video) == Blob(key, SHA256, len(VIDEO))
    assert read(store, key) == VIDEO
    assert video.read_bytes() == VIDEO


def test_a_file_larger_than_one_part_of_an_upload_comes_back_whole(store: BlobStore, tmp_path: Path) -> None:
    content = os.urandom(12 * CHUNK_BYTES + 17)
    (tmp_path / "large").write_bytes(content)
    blob = put(store, tmp_path / "large")
    asyncio.run(store.get_to_file(blob.key, tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == content


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_storing_the_same_twice_stores_it_once(store: BlobStore, video: Path, sha256: str | None) -> None:
    first = put(store, video, sha256)
    assert put(store, video, sha256) == first
    assert keys(store, "blobs") == {first.key}


def test_a_file_that_is_not_what_was_promised_is_not_stored(store: BlobStore, video: Path) -> None:
    with pytest.raises(BlobCorruptError):
        put(store, video, "0" * 64)
    assert keys(store, "blobs") == set()


def test_a_caller_may_choose_the_folder(store: BlobStore, video: Path) -> None:
    assert put(store, video, folder="cache/ab").key == f"cache/ab/{SHA256}.mp4"
    assert keys(store, "cache") == {f"cache/ab/{SHA256}.mp4"}


def test_an_empty_file_is_a_file(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    blob = put(store, tmp_path / "empty")
    assert blob.size == 0
    assert read(store, blob.key) == b""


def test_a_blob_is_written_to_a_file_and_says_what_it_is(store: BlobStore, video: Path, tmp_path: Path) -> None:
    blob = put(store, video)
    folder = tmp_path / "out"
    folder.mkdir()
    assert asyncio.run(store.get_to_file(blob.key, folder / "copy.mp4")) == blob
    assert [path.name for path in folder.iterdir()] == ["copy.mp4"]
    assert (folder / "copy.mp4").read_bytes() == VIDEO


def test_a_damaged_blob_leaves_no_file(store: BlobStore, video: Path, tmp_path: Path) -> None:
    blob = put(store, video)
    asyncio.run(store.put_bytes(blob.key, VIDEO[:-1] + b"!"))
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(BlobCorruptError):
        asyncio.run(store.get_to_file(blob.key, folder / "copy.mp4"))
    assert list(folder.iterdir()) == []


def test_a_file_of_another_size_under_the_key_is_replaced(store: BlobStore, video: Path) -> None:
    blob = put(store, video)
    asyncio.run(store.put_bytes(blob.key, VIDEO[:100]))
    assert put(store, video) == blob
    assert read(store, blob.key) == VIDEO


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 1), (0, None), (5, 5), (7, 1000), (len(VIDEO) - 3, None), (len(VIDEO), None), (1, len(VIDEO) + 99)],
)
def test_a_range_is_exact(store: BlobStore, video: Path, start: int, end: int | None) -> None:
    assert read(store, put(store, video).key, start, end) == VIDEO[start:end]


@pytest.mark.parametrize(("start", "end"), [(-1, None), (5, 4), (len(VIDEO) + 1, None)])
def test_a_range_that_does_not_exist_is_refused_before_anything_is_read(
    store: BlobStore, video: Path, start: int, end: int | None
) -> None:
    with pytest.raises(ValidationError):
        read(store, put(store, video).key, start, end)


def test_head_tells_size_and_time(store: BlobStore, video: Path) -> None:
    blob = put(store, video)
    stored = asyncio.run(store.head(blob.key))
    assert (stored.key, stored.size) == (blob.key, len(VIDEO))
    assert abs(stored.modified - video.stat().st_mtime) < 60


@pytest.mark.parametrize("key", ["nothing/here.json", "blobs"])
def test_what_is_not_there_is_said_to_be_missing(store: BlobStore, video: Path, tmp_path: Path, key: str) -> None:
    put(store, video)
    for ask in (store.head(key), store.get_bytes(key), store.stream(key), store.get_to_file(key, tmp_path / "x")):
        with pytest.raises(BlobNotFoundError) as caught:
            asyncio.run(ask)
        assert caught.value.key == key
    assert not (tmp_path / "x").exists()


def test_what_is_deleted_is_gone_and_may_be_deleted_again(store: BlobStore, video: Path) -> None:
    key = put(store, video).key
    for _ in range(2):
        asyncio.run(store.delete(key))
        with pytest.raises(BlobNotFoundError):
            asyncio.run(store.head(key))


def test_something_small_is_replaced_in_one_step(store: BlobStore) -> None:
    assert asyncio.run(store.put_bytes("notes/a.json", b"1"))
    assert asyncio.run(store.put_bytes("notes/a.json", b"22"))
    assert asyncio.run(store.get_bytes("notes/a.json")) == b"22"


def test_only_the_first_creates(store: BlobStore) -> None:
    async def race() -> list[bool]:
        return await asyncio.gather(
            *(store.put_bytes("notes/a.json", str(number).encode(), create=True) for number in range(8))
        )

    won = asyncio.run(race())
    assert sum(won) == 1
    assert asyncio.run(store.get_bytes("notes/a.json")) == str(won.index(True)).encode()


def test_a_folder_is_listed_with_all_below_it_and_nothing_beside_it(store: BlobStore) -> None:
    for key in ("a/1.json", "a/b/2.json", "ab/3.json", "c.json"):
        asyncio.run(store.put_bytes(key, b"12"))
    assert {(stored.key, stored.size) for stored in asyncio.run(store.listed("a"))} == {
        ("a/1.json", 2),
        ("a/b/2.json", 2),
    }
    assert keys(store, "nothing") == set()


def test_a_touch_is_seen_and_changes_nothing_else(store: BlobStore) -> None:
    asyncio.run(store.put_bytes("a/1.json", b"12"))
    before = asyncio.run(store.head("a/1.json")).modified
    asyncio.run(store.touch("a/1.json"))
    assert asyncio.run(store.head("a/1.json")).modified >= before
    assert asyncio.run(store.get_bytes("a/1.json")) == b"12"
    asyncio.run(store.touch("a/2.json"))
    assert keys(store, "a") == {"a/1.json"}


@pytest.mark.parametrize("key", WRONG_KEYS, ids=repr)
def test_a_key_that_is_none_is_refused(store: BlobStore, tmp_path: Path, key: str) -> None:
    def calls():
        yield store.head(key)
        yield store.get_bytes(key)
        yield store.put_bytes(key, b"1")
        yield store.delete(key)
        yield store.listed(key)
        yield store.touch(key)
        yield store.stream(key)
        yield store.get_to_file(key, tmp_path / "x")
        yield store.presigned_url(key, seconds=1)

    for call in calls():
        with pytest.raises(ValidationError):
            asyncio.run(call)
    with pytest.raises(ValidationError):
        store.local_path(key)


@pytest.mark.parametrize("suffix", ["", "mp4", ".MP4", "./x", ".mp4/..", ".tar.gz"])
def test_a_suffix_that_is_none_is_refused(store: BlobStore, video: Path, suffix: str) -> None:
    with pytest.raises(ValidationError):
        asyncio.run(store.put_file(video, suffix=suffix))


def test_a_blob_is_read_by_one_of_two_ways_past_the_store(store: BlobStore, video: Path) -> None:
    key = put(store, video).key
    path, url = store.local_path(key), asyncio.run(store.presigned_url(key, seconds=60))
    assert (path is None) != (url is None)
    if path is not None:
        assert path.read_bytes() == VIDEO
    if url is not None:
        with urllib.request.urlopen(url, timeout=30) as reply:
            assert reply.read() == VIDEO


def test_many_put_the_same_at_once(store: BlobStore, video: Path) -> None:
    async def race() -> list[Blob]:
        return await asyncio.gather(*(store.put_file(video, suffix=".mp4") for _ in range(8)))

    (blob,) = set(asyncio.run(race()))
    assert read(store, blob.key) == VIDEO


def test_a_cache_of_videos_works_on_it(store: BlobStore, tmp_path: Path) -> None:
    maker = Maker(size=10_000)
    cache = VideoCache(store, max_bytes=25_000)

    def ask(seed: int) -> str:
        folder = tmp_path / secrets.token_hex(4)
        folder.mkdir()
        request = a_request(seed=seed)
        answer = asyncio.run(cache.answer(request, Context(folder), maker.of(request)))
        assert len(answer.result.path.read_bytes()) == answer.result.facts.size == 10_000
        return answer.how

    assert [ask(1), ask(1)] == ["made", "hit"]
    assert [ask(2), ask(3)] == ["made", "made"]
    assert sum(stored.size for stored in asyncio.run(store.listed("cache"))) <= 25_000
    assert ask(3) == "hit"
