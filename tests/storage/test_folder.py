"""The folder store when things go wrong: killed writers, full disks, folders that cannot be written."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cinelet.domain.errors import CapacityError, ValidationError
from cinelet.storage.blobs import open_store
from cinelet.storage.bucket import BucketStore
from cinelet.storage.errors import BlobNotFoundError, StorageDeniedError, StorageError
from cinelet.storage.folder import FolderStore

ROOT = Path(__file__).parents[2]
DAY_SECONDS = 24 * 3600

STOPS_IN_THE_MIDDLE = """
import asyncio, io, sys
from pathlib import Path
from cinelet.storage import folder
class Stuck(io.BytesIO):
    def read(self, size=-1):
        if self.tell():
            print("half", flush=True)
            sys.stdin.read()
        return super().read(size)
real = folder.copy_hashed
folder.copy_hashed = lambda source, target=None: real(Stuck(source.read()), target)
asyncio.run(folder.FolderStore(Path(sys.argv[1])).put_file(Path(sys.argv[2]), suffix=".mp4"))
"""

IS_KILLED_AGAIN_AND_AGAIN = """
import asyncio, os, random, signal, sys, time
from pathlib import Path
from cinelet.storage.folder import FolderStore
root, video = map(Path, sys.argv[1:])
begun, begins = os.pipe()
async def write():
    store = FolderStore(root)
    os.write(begins, b".")
    while True:
        blob = await store.put_file(video, suffix=".mp4")
        await store.put_bytes("notes/a.json", b"1" * 4096)
        await store.delete(blob.key)
for number in range(25):
    writer = os.fork()
    if not writer:
        asyncio.run(write())
    os.read(begun, 1)
    time.sleep(random.Random(number).uniform(0, 0.08))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    for path in (path for path in root.rglob("*") if path.is_file()):
        whole = {".mp4": video.read_bytes(), ".json": b"1" * 4096}.get(path.suffix)
        assert path.parent.name == ".parts" if whole is None else path.read_bytes() == whole, path
"""

STORES_UNDER_A_LIMIT = """
import asyncio, os, resource, sys
from pathlib import Path
from cinelet.domain.errors import CineletError
from cinelet.storage.folder import FolderStore
store = FolderStore(Path(sys.argv[1]))
asyncio.run(asyncio.to_thread(len, ""))  # Loads all that another user may not be allowed to read.
if sys.argv[3] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
elif os.geteuid() == 0:
    os.seteuid(65534)
for work in (
    lambda: store.put_file(Path(sys.argv[2]), suffix=".mp4"),
    lambda: store.put_bytes("a.json", b"1" * 400_000),
):
    try:
        asyncio.run(work())
    except CineletError as error:
        print(type(error).__name__, error)
"""


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may look into; pytest's own are private."""
    folder = Path(tempfile.mkdtemp(prefix="cinelet-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def video(open_folder: Path) -> Path:
    path = open_folder / "video.mp4"
    path.write_bytes(os.urandom(3_000_000))
    path.chmod(0o644)
    return path


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT / "src",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_put_leaves_only_a_temporary_file(tmp_path: Path, video: Path) -> None:
    with child(STOPS_IN_THE_MIDDLE, tmp_path, video) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        writer.send_signal(signal.SIGKILL)
    (left,) = files(tmp_path)
    assert left.parent == tmp_path / ".parts"
    store = FolderStore(tmp_path)
    assert asyncio.run(store.listed("blobs")) == []
    assert store.sweep() == 0
    assert left.exists(), "somebody may still be writing it"
    assert store.sweep(older_than_seconds=-1) == 1
    assert files(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_whatever_a_killed_writer_leaves_under_a_name_is_whole(tmp_path: Path, video: Path) -> None:
    with child(IS_KILLED_AGAIN_AND_AGAIN, tmp_path, video) as killer:
        killer.communicate()
    assert killer.returncode == 0
    assert list((tmp_path / ".parts").iterdir()), "no kill met a write"


def test_opening_a_store_removes_temporary_files_that_are_a_day_old(tmp_path: Path) -> None:
    parts = tmp_path / ".parts"
    parts.mkdir()
    for name, age in (("old.part", DAY_SECONDS + 60), ("young.part", DAY_SECONDS - 60), ("old.txt", 2 * DAY_SECONDS)):
        (parts / name).touch()
        moment = (parts / name).stat().st_mtime - age
        os.utime(parts / name, (moment, moment))
    open_store(str(tmp_path))
    assert {path.name for path in parts.iterdir()} == {"young.part", "old.txt"}


def test_opening_a_store_makes_nothing(tmp_path: Path) -> None:
    open_store(str(tmp_path / "later"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_full_disk_is_a_lack_of_room_and_leaves_nothing(open_folder: Path, video: Path) -> None:
    root = open_folder / "store"
    with child(STORES_UNDER_A_LIMIT, root, video, "full") as writer:
        said = writer.communicate()[0].splitlines()
    assert [line.split()[0] for line in said] == ["CapacityError", "CapacityError"]
    assert all(str(root) in line and "free some space" in line for line in said)
    assert files(root) == []


@pytest.mark.skipif(sys.platform == "win32", reason="rights are POSIX")
def test_a_read_only_folder_is_said_to_be_one(open_folder: Path, video: Path) -> None:
    root = open_folder / "store"
    root.mkdir(mode=0o555)
    with child(STORES_UNDER_A_LIMIT, root, video, "read-only") as writer:
        said = writer.communicate()[0].splitlines()
    assert [line.split()[0] for line in said] == ["StorageDeniedError", "StorageDeniedError"]
    assert files(root) == []


def test_a_disk_that_fills_while_reading_back_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path / "store")
    asyncio.run(store.put_bytes("a.json", b"1"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cinelet.storage.folder.copy_hashed", full)
    with pytest.raises(CapacityError):
        asyncio.run(store.get_to_file("a.json", tmp_path / "copy"))
    assert {path.name for path in tmp_path.iterdir()} == {"store"}


def test_content_is_synced_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        done.append("name")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    asyncio.run(FolderStore(tmp_path).put_bytes("a/b/c.json", b"1"))
    assert done[:2] == ["content", "name"]
    assert done[2:] == ["folder"] * 3, "of the file, and of both folders that were made for it"


def test_a_place_without_hard_links_still_lets_only_the_first_create(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    store = FolderStore(tmp_path)
    assert asyncio.run(store.put_bytes("a.json", b"1", create=True))
    assert not asyncio.run(store.put_bytes("a.json", b"2", create=True))
    assert asyncio.run(store.get_bytes("a.json")) == b"1"


def test_deleting_leaves_no_empty_folders(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for key in ("a/b/1.json", "a/2.json"):
        asyncio.run(store.put_bytes(key, b"1"))
    asyncio.run(store.delete("a/b/1.json"))
    assert not (tmp_path / "a" / "b").exists()
    asyncio.run(store.delete("a/2.json"))
    assert not (tmp_path / "a").exists()
    assert tmp_path.exists()


def test_putting_and_deleting_in_one_folder_at_once_never_fails(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)

    async def put_and_delete(name: int) -> None:
        for _ in range(40):
            await store.put_bytes(f"a/b/{name}.json", b"1")
            await store.delete(f"a/b/{name}.json")

    async def all_at_once() -> None:
        await asyncio.gather(*map(put_and_delete, range(4)))

    asyncio.run(all_at_once())
    assert files(tmp_path) == []


def test_a_file_in_the_place_of_a_folder_is_an_error_and_stays(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    asyncio.run(store.put_bytes("a", b"1"))
    with pytest.raises(StorageError, match="Cannot store a/b"):
        asyncio.run(store.put_bytes("a/b", b"2"))
    assert files(tmp_path) == [tmp_path / "a"]


def test_a_damaged_blob_of_the_same_size_is_healed_by_storing_it_again(tmp_path: Path, video: Path) -> None:
    store = FolderStore(tmp_path)
    blob = asyncio.run(store.put_file(video, suffix=".mp4"))
    path = tmp_path / blob.key
    path.write_bytes(bytes(blob.size))
    asyncio.run(store.put_file(video, suffix=".mp4", sha256=blob.sha256))
    assert path.read_bytes() == video.read_bytes()


def test_a_blob_that_vanishes_before_it_is_read_is_missing(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)

    async def read_late() -> bytes:
        await store.put_bytes("a.json", b"1")
        pieces = await store.stream("a.json")
        await store.delete("a.json")
        return b"".join([piece async for piece in pieces])

    with pytest.raises(BlobNotFoundError):
        asyncio.run(read_late())


def test_a_file_that_does_not_exist_is_not_stored(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"Cannot store none\.mp4"):
        asyncio.run(FolderStore(tmp_path).put_file(tmp_path / "none.mp4", suffix=".mp4"))
    assert files(tmp_path) == []


@pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}"])
def test_a_folder_has_several_spellings(tmp_path: Path, form: str) -> None:
    store = open_store(form.format(tmp_path / "with space".replace(" ", "_")))
    assert isinstance(store, FolderStore)
    assert store.root == tmp_path / "with_space"


def test_a_file_url_is_decoded(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/with%20space")
    assert isinstance(store, FolderStore)
    assert store.root == tmp_path / "with space"


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/a/b", "gs://bucket/a", "az://container/a"])
def test_a_bucket_is_named_by_its_url(url: str) -> None:
    store = open_store(url, options={"account_name": "name"} if url.startswith("az") else {})
    assert isinstance(store, BucketStore)
    assert repr(store) == f"BucketStore('{url}')"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:",
        "ftp://host/secret-word",
        "https://host/secret-word",
        "s3://",
        "s3:///prefix",
        "s3:bucket",
        "s3://key:secret-word@bucket/x",
        "s3://bucket/x?token=secret-word",
        "az://container?sig=secret-word",
        "s3://bucket/../x",
        "s3://bucket/a//b",
    ],
)
def test_a_url_that_names_no_store_is_refused_without_repeating_a_secret(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        open_store(url)
    assert "secret-word" not in f"{caught.value} {caught.value.details}"


def test_errors_are_of_our_tree() -> None:
    assert issubclass(StorageDeniedError, StorageError)
    assert not StorageDeniedError.retryable
    assert StorageError.retryable
