"""Identical work is done once, and nobody who waits for it can spoil it for the others."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cinelet.domain.backend import Context, Handle
from cinelet.domain.errors import DeadlineExceededError, GenerationCancelledError, ProcessingError
from cinelet.domain.progress import Progress
from cinelet.storage.flights import Answer, Flights
from tests.storage.maker import Maker, a_request

REQUEST = a_request()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where flights keep their files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


class Crowd:
    """Several who wait for one piece of work, each with a context of their own."""

    def __init__(self, root: Path, maker: Maker) -> None:
        self.root = root
        self.maker = maker
        self.flights = Flights()
        self.contexts: list[Context] = []
        self.reports: list[list[Progress]] = []
        self.handles: list[list[Handle | None]] = []

    async def join(self, *, key: str = "key", deadline_seconds: float | None = None) -> asyncio.Task[Answer]:
        number = len(self.contexts)
        folder = self.root / str(number)
        folder.mkdir()
        reports: list[Progress] = []
        handles: list[Handle | None] = []

        async def on_handle(handle: Handle | None) -> None:
            handles.append(handle)

        context = Context(folder, deadline_seconds=deadline_seconds, on_progress=reports.append, on_handle=on_handle)
        self.contexts.append(context)
        self.reports.append(reports)
        self.handles.append(handles)

        async def work(inner: Context) -> Answer:
            return Answer(await self.maker.of(REQUEST)(inner), "made")

        task = asyncio.create_task(self.flights.join(key, work, context))
        # It has joined after one step; the work has begun, and a late one has caught up, after a few more.
        for _ in range(5):
            await asyncio.sleep(0)
        return task


Scene = Callable[[Crowd], Awaitable[None]]


def play(root: Path, scene: Scene, maker: Callable[[], Maker] = Maker) -> Crowd:
    async def run() -> Crowd:
        crowd = Crowd(root, maker())
        await scene(crowd)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in others if task.get_name() == "cinelet-flight"]
        assert crowd.flights._flights == {}
        return crowd

    return asyncio.run(asyncio.wait_for(run(), 20))


def closed() -> Maker:
    maker = Maker()
    maker.gate.clear()
    return maker


def failing() -> Maker:
    maker = Maker(error=ProcessingError("The model failed", "denoising"))
    maker.gate.clear()
    return maker


def test_many_wait_for_one_and_each_has_a_file_of_their_own(tmp_path: Path, temporary: Path) -> None:
    async def scene(crowd: Crowd) -> None:
        tasks = [await crowd.join() for _ in range(5)]
        crowd.maker.gate.set()
        answers = await asyncio.gather(*tasks)
        assert [answer.how for answer in answers] == ["made", *["joined"] * 4]
        paths = [answer.result.path for answer in answers]
        assert [path.parent for path in paths] == [context.folder for context in crowd.contexts]
        assert len({path.read_bytes() for path in paths}) == 1
        paths[0].write_bytes(b"changed")
        assert b"changed" not in {path.read_bytes() for path in paths[1:]}
        assert len({path.stat().st_ino for path in paths}) == 5

    assert play(tmp_path, scene, closed).maker.made == 1
    assert list(temporary.iterdir()) == []


def test_other_keys_are_other_work(tmp_path: Path) -> None:
    async def scene(crowd: Crowd) -> None:
        await asyncio.gather(await crowd.join(key="a"), await crowd.join(key="b"))

    assert play(tmp_path, scene).maker.made == 2


def test_what_is_finished_is_not_joined(tmp_path: Path) -> None:
    async def scene(crowd: Crowd) -> None:
        await (await crowd.join())
        assert (await (await crowd.join())).how == "made"

    assert play(tmp_path, scene).maker.made == 2


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("how", ["task", "context"])
def test_one_who_leaves_does_not_stop_the_others(tmp_path: Path, who: int, how: str) -> None:
    async def scene(crowd: Crowd) -> None:
        tasks = [await crowd.join(), await crowd.join()]
        if how == "task":
            tasks[who].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[who]
        else:
            crowd.contexts[who].cancel()
            with pytest.raises(GenerationCancelledError):
                await tasks[who]
        assert not crowd.maker.contexts[0].cancelled
        crowd.maker.gate.set()
        answer = await tasks[1 - who]
        assert answer.result.path.is_file()

    crowd = play(tmp_path, scene, closed)
    assert (crowd.maker.begun, crowd.maker.made) == (1, 1)


@pytest.mark.parametrize("how", ["task", "context"])
def test_the_last_one_who_leaves_stops_the_work_and_waits_for_its_end(
    tmp_path: Path, temporary: Path, how: str
) -> None:
    async def scene(crowd: Crowd) -> None:
        tasks = [await crowd.join(), await crowd.join()]
        for task, context in zip(tasks, crowd.contexts, strict=True):
            if how == "task":
                task.cancel()
            else:
                context.cancel()
        await asyncio.wait(tasks)
        assert crowd.maker.stopped == 1
        assert crowd.maker.contexts[0].cancelled

    play(tmp_path, scene, closed)
    assert list(temporary.iterdir()) == []


def test_one_who_comes_after_everybody_left_begins_anew(tmp_path: Path) -> None:
    async def scene(crowd: Crowd) -> None:
        first = await crowd.join()
        first.cancel()
        second = await crowd.join()
        crowd.maker.gate.set()
        assert (await second).how == "made"
        with pytest.raises(asyncio.CancelledError):
            await first

    crowd = play(tmp_path, scene, closed)
    assert (crowd.maker.begun, crowd.maker.made) == (2, 1)


def test_each_has_a_deadline_of_their_own(tmp_path: Path) -> None:
    async def scene(crowd: Crowd) -> None:
        patient = await crowd.join()
        hasty = await crowd.join(deadline_seconds=0.05)
        with pytest.raises(DeadlineExceededError):
            await hasty
        assert crowd.maker.contexts[0].remaining_seconds() is None
        crowd.maker.gate.set()
        await patient

    assert play(tmp_path, scene, closed).maker.made == 1


def test_the_work_has_as_long_as_somebody_waits(tmp_path: Path) -> None:
    async def scene(crowd: Crowd) -> None:
        tasks = [await crowd.join(deadline_seconds=100), await crowd.join(deadline_seconds=200)]
        inner = crowd.maker.contexts[0]
        assert 150 < (inner.remaining_seconds() or 0) <= 200
        assert 40 < (inner.within(50).remaining_seconds() or 0) <= 50
        assert 150 < (inner.within(1000).remaining_seconds() or 0) <= 200
        tasks.append(await crowd.join())
        assert inner.remaining_seconds() is None
        crowd.maker.gate.set()
        await asyncio.gather(*tasks)

    play(tmp_path, scene, closed)


def test_work_whose_time_is_over_ends_by_the_deadline_of_who_waits(tmp_path: Path) -> None:
    async def scene(crowd: Crowd) -> None:
        task = await crowd.join(deadline_seconds=0.02)
        with pytest.raises(DeadlineExceededError, match=r"0\.02 s"):
            await task
        assert crowd.maker.stopped == 1

    play(tmp_path, scene, closed)


def test_an_error_reaches_everybody(tmp_path: Path, temporary: Path) -> None:
    async def scene(crowd: Crowd) -> None:
        tasks = [await crowd.join() for _ in range(3)]
        crowd.maker.gate.set()
        for task in tasks:
            with pytest.raises(ProcessingError, match="The model failed"):
                await task

    assert play(tmp_path, scene, failing).maker.begun == 1
    assert list(temporary.iterdir()) == []


def test_progress_reaches_everybody_and_whoever_comes_later_is_told_where_it_is(tmp_path: Path) -> None:
    async def scene(crowd: Crowd) -> None:
        tasks = [await crowd.join(), await crowd.join()]
        assert [report.fraction for report in crowd.reports[1]] == [0.5]
        crowd.maker.contexts[0].report(crowd.reports[0][0].stage, 0.75, step=3, steps=4)
        crowd.maker.gate.set()
        await asyncio.gather(*tasks)

    crowd = play(tmp_path, scene, closed)
    assert crowd.reports[0] == crowd.reports[1]
    assert [(report.fraction, report.step) for report in crowd.reports[0]] == [(0.5, 1), (0.75, 3)]


def test_a_providers_handle_is_saved_for_everybody(tmp_path: Path) -> None:
    async def scene(crowd: Crowd) -> None:
        tasks = [await crowd.join()]
        await crowd.maker.contexts[0].save_handle({"job": 1})
        tasks.append(await crowd.join())
        await crowd.maker.contexts[0].save_handle(None)
        crowd.maker.gate.set()
        await asyncio.gather(*tasks)

    assert play(tmp_path, scene, closed).handles == [[{"job": 1}, None], [{"job": 1}, None]]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_job_that_somebody_hands_over_goes_on_at_its_provider(tmp_path: Path, order: tuple[int, int]) -> None:
    """Whoever else waits and cancels must not cancel a job that another process goes on with."""

    async def scene(crowd: Crowd) -> None:
        crowd.maker.gate.clear()
        tasks = [await crowd.join(), await crowd.join()]
        leave = [crowd.contexts[0].hand_over, crowd.contexts[1].cancel]
        for who in order:
            leave[who]()
            with pytest.raises(GenerationCancelledError):
                await tasks[who]
        assert crowd.maker.contexts[0].handed_over

    play(tmp_path, scene)


def test_a_job_that_all_cancel_is_not_handed_over(tmp_path: Path) -> None:
    async def scene(crowd: Crowd) -> None:
        crowd.maker.gate.clear()
        task = await crowd.join()
        crowd.contexts[0].cancel()
        with pytest.raises(GenerationCancelledError):
            await task
        assert crowd.maker.contexts[0].cancelled
        assert not crowd.maker.contexts[0].handed_over

    play(tmp_path, scene)


def test_a_file_that_cannot_be_copied_fails_only_for_that_one(tmp_path: Path, temporary: Path) -> None:
    async def scene(crowd: Crowd) -> None:
        tasks = [await crowd.join(), await crowd.join()]
        crowd.contexts[0].folder.rmdir()
        crowd.maker.gate.set()
        with pytest.raises(FileNotFoundError):
            await tasks[0]
        assert (await tasks[1]).result.path.is_file()

    play(tmp_path, scene, closed)
    assert list(temporary.iterdir()) == []


def test_two_loops_do_not_wait_for_each_other(tmp_path: Path) -> None:
    flights = Flights()
    (tmp_path / "context").mkdir()

    async def once() -> Answer:
        maker = Maker()

        async def work(inner: Context) -> Answer:
            return Answer(await maker.of(REQUEST)(inner), "made")

        return await flights.join("key", work, Context(tmp_path / "context"))

    assert [asyncio.run(once()).how for _ in range(2)] == ["made", "made"]
