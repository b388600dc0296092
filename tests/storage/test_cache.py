"""What was made once is answered from the store, and nothing damaged ever is."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cinelet.domain.backend import Context
from cinelet.domain.errors import CapacityError, ProcessingError
from cinelet.storage.blobs import Blob
from cinelet.storage.errors import StorageError
from cinelet.storage.flights import Answer
from cinelet.storage.folder import FolderStore
from cinelet.storage.video_key import video_key
from tests.storage.library import Library
from tests.storage.maker import a_request, a_result

T = TypeVar("T")


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


def test_the_same_request_is_made_once(library: Library) -> None:
    first, second = library.answer(), library.answer()
    assert (first.how, second.how, library.maker.made) == ("made", "hit", 1)
    assert second.result.path.read_bytes() == first.result.path.read_bytes()
    assert second.result.path != first.result.path


def test_a_cached_result_knows_all_that_the_first_one_knew(library: Library) -> None:
    first, second = library.answer().result, library.answer().result
    assert second.facts.fps == Fraction(24000, 1001)
    for name in ("facts", "model", "requested_model", "seed", "adjustments", "attempts", "timings", "generation_time"):
        assert getattr(second, name) == getattr(first, name), name
    assert dict(second.applied) == dict(first.applied)
    assert second.request == first.request


def test_a_result_that_is_changed_in_place_changes_no_other(library: Library) -> None:
    library.answer().result.path.write_bytes(b"changed")
    hit = library.answer()
    hit.result.path.write_bytes(b"changed as well")
    assert library.answer().result.path.read_bytes().startswith(b"video 1 of 7")


def test_another_process_finds_it(library: Library) -> None:
    library.answer()
    assert Library(library.root).answer().how == "hit"


def test_facts_are_told_without_opening_the_video(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    made = library.answer().result

    def opened(*_: object) -> None:
        pytest.fail("the video was opened")

    monkeypatch.setattr(FolderStore, "get_to_file", opened)
    monkeypatch.setattr(FolderStore, "stream", opened)
    entry = asyncio.run(library.cache.find(str(video_key(a_request()))))
    assert entry is not None
    assert entry.facts == made.facts


def test_a_request_without_a_seed_is_made_each_time_and_kept_under_its_seed(library: Library) -> None:
    library.maker.values = {"seed": 7}
    request = a_request(seed=None)
    assert [library.answer(request).how for _ in range(2)] == ["made", "made"]
    hit = library.answer(a_request(seed=7))
    assert hit.how == "hit"
    assert hit.result.path.read_bytes().startswith(b"video 2")


def test_two_requests_without_a_seed_are_not_joined(library: Library) -> None:
    async def both() -> list[Answer]:
        return await asyncio.gather(*(library.ask(a_request(seed=None)) for _ in range(2)))

    assert [answer.how for answer in asyncio.run(both())] == ["made", "made"]


def test_a_video_whose_seed_nobody_knows_is_not_kept(library: Library) -> None:
    library.maker.values = {"seed": None}
    library.answer(a_request(seed=None))
    assert library.stored() == []


def test_refresh_makes_it_anew_and_keeps_that_alone(library: Library) -> None:
    library.answer()
    assert library.answer(mode="refresh").how == "made"
    assert library.answer().result.path.read_bytes().startswith(b"video 2")
    assert len(library.files()) == 2


def test_off_neither_looks_nor_keeps(library: Library) -> None:
    assert [library.answer(mode="off").how for _ in range(2)] == ["off", "off"]
    assert library.stored() == []
    library.answer()
    assert library.answer(mode="off").how == "off"


def test_identical_requests_are_joined_and_others_are_not(library: Library) -> None:
    async def all_at_once() -> list[Answer]:
        library.maker.gate.clear()
        asks = [library.ask(a_request(seed=seed)) for seed in (1, 1, 1, 2)]
        tasks = [asyncio.create_task(ask) for ask in asks]
        while library.maker.begun < 2:  # noqa: ASYNC110  (threads look into the store meanwhile)
            await asyncio.sleep(0.001)
        library.maker.gate.set()
        return await asyncio.gather(*tasks)

    answers = asyncio.run(all_at_once())
    assert sorted(answer.how for answer in answers) == ["joined", "joined", "made", "made"]
    assert library.maker.made == 2


def test_a_request_that_allows_no_other_model_is_not_joined_to_one_that_does(library: Library) -> None:
    library.maker.values = {"model": "org/other"}

    async def both() -> list[Answer]:
        return await asyncio.gather(*(library.ask(a_request(fallback=fallback)) for fallback in (True, False)))

    assert [answer.how for answer in asyncio.run(both())] == ["made", "made"]


def test_a_request_that_goes_on_from_a_handle_asks_for_its_own_job(library: Library) -> None:
    library.answer()
    context = Context(library.folder(), handle={"model": "embedded"})
    answer = asyncio.run(library.cache.answer(a_request(), context, library.maker.of(a_request())))
    assert answer.how == "made"
    assert library.maker.contexts[-1] is context


@pytest.mark.parametrize(
    ("requested", "made", "kept"),
    [
        ("embedded", "embedded", True),
        ("embedded", "org/other", False),
        ("org/name", "hf:org/name:fal-ai", True),
        ("org/name", "local:org/name", True),
        ("hf:org/name", "hf:org/name:fal-ai", True),
        ("hf:org/name:replicate", "hf:org/name:fal-ai", False),
        ("hf:org/name", "local:org/name", False),
        ("local:org/name", "hf:org/name:fal-ai", False),
        ("org/name", "hf:org/other:fal-ai", False),
        ("org/name", "not a reference", False),
    ],
)
def test_a_video_is_kept_only_if_the_requested_model_made_it(
    library: Library, requested: str, made: str, kept: bool
) -> None:
    library.maker.values = {"model": made}
    library.answer(a_request(model=requested))
    assert library.answer(a_request(model=requested)).how == ("hit" if kept else "made")


def test_another_revision_is_another_video(library: Library) -> None:
    library.answer(revision="a")
    assert library.answer(revision="b").how == "made"
    assert library.answer(revision="a").how == "hit"


def test_a_model_that_comes_with_its_first_video_is_found_under_what_came(library: Library) -> None:
    async def revision() -> str | None:
        return "commit" if library.maker.made else None

    async def two() -> list[str]:
        asks = [library.cache.answer(a_request(), Context(library.folder()), library.maker.of(a_request()),
                                     revision=revision) for _ in range(2)]  # fmt: skip
        return [(await ask).how for ask in asks]

    assert asyncio.run(two()) == ["made", "hit"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rewrite(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def other_facts(path: Path) -> None:
    rewrite(path, facts={**json.loads(path.read_text())["facts"], "sha256": "0" * 64})


DAMAGE: dict[str, Callable[[Path, Path], object]] = {
    "a bit of the video": lambda video, _: flip(video),
    "the end of the video": lambda video, _: os.truncate(video, 500),
    "an empty video": lambda video, _: os.truncate(video, 0),
    "no video": lambda video, _: video.unlink(),
    "a longer video": lambda video, _: video.write_bytes(video.read_bytes() + b"1"),
    "half an entry": lambda _, entry: os.truncate(entry, 100),
    "an empty entry": lambda _, entry: os.truncate(entry, 0),
    "an entry that is no JSON": lambda _, entry: entry.write_bytes(b"\xff" * 100),
    "an entry of another shape": lambda _, entry: entry.write_text("[]"),
    "an entry of another key": lambda _, entry: rewrite(entry, key="0" * 64),
    "an entry that points elsewhere": lambda _, entry: rewrite(entry, blob_key="blobs/secret.mp4"),
    "an entry that points upwards": lambda _, entry: rewrite(
        entry, blob_key=json.loads(entry.read_text())["blob_key"].replace(".mp4", "/../../x.mp4")
    ),
    "an entry without facts": lambda _, entry: rewrite(entry, facts=None),
    "an entry of another video": lambda _, entry: other_facts(entry),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_damaged_is_removed_and_made_again(library: Library, damage: Callable[[Path, Path], object]) -> None:
    library.answer()
    video, entry = sorted(library.files(), key=lambda path: path.name == "entry.json")
    damage(video, entry)
    answer = library.answer()
    assert answer.how == "made"
    assert answer.result.path.read_bytes().startswith(b"video 2 of 7")
    assert library.answer().how == "hit"
    assert len(library.stored()) == 2


OPERATIONS = ["get_bytes", "get_to_file", "touch", "put_file", "put_bytes"]


class Failing(FolderStore):
    """A store whose operations fail by name."""

    def __init__(self, root: Path, *, error: Exception, operations: set[str]) -> None:
        super().__init__(root)
        self.error = error
        self.operations = operations

    async def get_bytes(self, key: str) -> bytes:
        return await self._or_fail("get_bytes", super().get_bytes(key))

    async def get_to_file(self, key: str, path: Path) -> Blob:
        return await self._or_fail("get_to_file", super().get_to_file(key, path))

    async def put_file(self, path: Path, **options: Any) -> Blob:
        return await self._or_fail("put_file", super().put_file(path, **options))

    async def put_bytes(self, key: str, content: bytes, *, create: bool = False) -> bool:
        return await self._or_fail("put_bytes", super().put_bytes(key, content, create=create))

    async def touch(self, key: str) -> None:
        await self._or_fail("touch", super().touch(key))

    async def _or_fail(self, name: str, call: Coroutine[Any, Any, T]) -> T:
        if name in self.operations:
            call.close()
            raise self.error
        return await call


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        *((operation, StorageError("away")) for operation in OPERATIONS),
        *((operation, CapacityError("full")) for operation in OPERATIONS if operation != "get_to_file"),
    ],
)
def test_a_store_that_fails_costs_no_result(library: Library, operation: str, error: Exception) -> None:
    library.answer()
    library.cache.store = Failing(library.root / "store", error=error, operations={operation})
    for mode in ("use", "refresh"):
        assert library.answer(mode=mode).result.path.is_file()


def test_no_room_for_a_hit_is_said_before_anything_is_made(library: Library) -> None:
    library.answer()
    library.cache.store = Failing(library.root / "store", error=CapacityError("full"), operations={"get_to_file"})
    with pytest.raises(CapacityError):
        library.answer()
    assert library.maker.begun == 1


def test_an_error_of_the_maker_is_not_kept(library: Library) -> None:
    library.maker.error = ProcessingError("no", "denoising")
    with pytest.raises(ProcessingError):
        library.answer()
    library.maker.error = None
    assert library.answer().how == "made"


def test_a_hit_is_reported_as_progress(library: Library) -> None:
    library.answer()
    context = Context(library.folder())
    asyncio.run(library.cache.answer(a_request(), context, library.maker.of(a_request())))
    assert context.latest is not None
    assert context.latest.fraction == 1.0


def test_no_image_and_no_seedless_request_is_in_the_entry_of_a_result(library: Library) -> None:
    request = a_request(image=b"an image that is private", prompt="a prompt")
    result = replace(a_result(library.folder(), b"1", request=request), applied={})
    assert asyncio.run(library.cache.keep(result, request=request))
    for path in library.stored():
        assert b"a prompt" not in path.read_bytes()
        assert b"private" not in path.read_bytes()
