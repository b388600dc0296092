"""Several processes share one cache without a lock, and may be killed at any point."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from cinelet.domain.backend import Context
from cinelet.storage.cache import VideoCache
from cinelet.storage.folder import FolderStore
from cinelet.storage.video_key import video_key
from tests.storage.maker import Maker, a_request, a_result

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")

ROOT = Path(__file__).parents[2]
REQUEST = a_request()
SIZE = 200_000

BEGIN = """
import asyncio, os, random, shutil, signal, sys, time
from pathlib import Path
from cinelet.storage.cache import VideoCache
from cinelet.storage.folder import FolderStore
from cinelet.storage.video_key import video_key
from tests.storage.maker import a_request, a_result
root, request = Path(sys.argv[1]), a_request()
def cache():
    return VideoCache(FolderStore(root / "store"), max_bytes=10**9)
def result(letter):
    folder = root / letter
    folder.mkdir(exist_ok=True)
    return a_result(folder, letter.encode() * 200_000, request=request)
begun, begins = os.pipe()
async def keep(made, count):
    os.write(begins, b".")
    for _ in range(count):
        assert await cache().keep(made, request=request)
async def served():
    entry = await cache().find(video_key(request))
    copy = root / "copy.mp4"
    return copy.read_bytes()[::199_999].decode() if entry and await cache().fetch(entry, copy) else "none"
def fork(letter, count):
    made = result(letter)
    child = os.fork()
    if not child:
        asyncio.run(keep(made, count))
        os._exit(0)
    return child
"""

TWO_KEEP = """
children = {fork("a", 40), fork("b", 40)}
while children:
    ended, status = os.waitpid(-1, os.WNOHANG)
    if ended:
        assert status == 0, status
        children.remove(ended)
    print(asyncio.run(served()))
"""

KILLED = """
for number in range(30):
    shutil.rmtree(root / "store", ignore_errors=True)
    if number % 2:
        asyncio.run(keep(result("a"), 1))
        os.read(begun, 1)
    child = fork("a", 10**6)
    os.read(begun, 1)
    time.sleep(random.Random(number).uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(asyncio.run(served()))
"""


def said(code: str, root: Path) -> list[str]:
    """Run the code in a process of its own, whose children share a cache below `root`; return what it printed."""
    result = subprocess.run(
        [sys.executable, "-c", BEGIN + code, str(root)],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return result.stdout.split()


def test_two_processes_that_keep_the_same_key_never_show_anything_but_a_whole_video(tmp_path: Path) -> None:
    seen = said(TWO_KEEP, tmp_path)
    assert set(seen) <= {"aa", "bb", "none"}
    assert {"aa", "bb"} & set(seen)
    # Whatever the race left, the next answer is whole, and the one after it comes from the cache.
    cache = VideoCache(FolderStore(tmp_path / "store"), max_bytes=10**9)
    answers = [asyncio.run(cache.answer(REQUEST, Context(tmp_path), Maker(size=SIZE).of(REQUEST))) for _ in range(2)]
    assert answers[1].how == "hit"
    assert len(answers[1].result.path.read_bytes()) == SIZE


def test_a_process_that_is_killed_while_it_keeps_leaves_a_whole_video_or_none(tmp_path: Path) -> None:
    seen = said(KILLED, tmp_path)
    assert len(seen) == 30
    assert set(seen) <= {"aa", "none"}
    assert set(seen[1::2]) == {"aa"}, "what was there before is there afterwards"


def test_a_video_without_its_entry_is_not_served(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    result = a_result(tmp_path, b"1" * SIZE, request=REQUEST)
    cache = VideoCache(store, max_bytes=10**9)
    assert asyncio.run(cache.keep(result, request=REQUEST))
    (entry,) = (tmp_path / "store").rglob("entry.json")
    entry.unlink()
    assert asyncio.run(cache.find(str(video_key(REQUEST)))) is None
