"""At most so many generations at a host, in the order they came, and no place is ever lost."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinelet.clock import FakeClock
from cinelet.domain.backend import Backend, Context, GeneratedVideo
from cinelet.domain.errors import DeadlineExceededError, GenerationCancelledError, ProcessingError
from cinelet.domain.progress import Stage
from cinelet.domain.request import VideoRequest
from cinelet.resilience import LimitBackend, host_of
from tests.resilience.doubles import ScriptedBackend, request

FAL, REPLICATE = "hf:org/name:fal-ai", "hf:org/name:replicate"


class Host:
    """A backend behind a limit, which holds every generation until it is told how it ends."""

    def __init__(self, **limits: int) -> None:
        self.ends: list[asyncio.Future[None]] = []
        self.began: list[str] = []
        self.running = 0
        self.most = 0
        self.limited = LimitBackend(
            ScriptedBackend(self._hold),
            key=host_of,
            limits={host.replace("_", "-"): limit for host, limit in limits.items()},
        )

    async def _hold(self, request: VideoRequest, context: Context) -> None:  # noqa: ARG002
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ends.append(end)
        self.began.append(str(request.prompt))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await end
        finally:
            self.running -= 1
            self.ends.remove(end)

    def begin(
        self, prompt: str = "a", *, model: str = FAL, context: Context | None = None
    ) -> asyncio.Task[GeneratedVideo]:
        context = context or Context(Path(tempfile.mkdtemp()))
        return asyncio.create_task(self.limited.generate(request(model, prompt=prompt), context))


async def settled() -> None:
    """Let everybody go on until they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_it_is_a_backend_around_a_backend() -> None:
    inner = ScriptedBackend()
    limited = LimitBackend(inner, key=host_of, limits={"fal-ai": 1})
    assert isinstance(limited, Backend)
    asyncio.run(limited.aclose())
    assert inner.closed


def test_those_beyond_the_limit_begin_in_the_order_they_came() -> None:
    async def scene() -> None:
        host = Host(fal_ai=2)
        tasks = [host.begin(prompt) for prompt in "abcd"]
        await settled()
        assert host.began == ["a", "b"]
        host.ends[1].set_result(None)
        await settled()
        assert host.began == ["a", "b", "c"]
        host.ends[0].set_exception(ProcessingError("The job failed", "denoising"))
        await settled()
        assert host.began == ["a", "b", "c", "d"]
        for end in host.ends:
            end.set_result(None)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["ProcessingError", *["GeneratedVideo"] * 3]

    asyncio.run(scene())


@pytest.mark.parametrize("model", [REPLICATE, "local:org/name", "embedded", "org/name"])
def test_a_host_without_a_limit_and_this_machine_never_wait(model: str) -> None:
    async def scene() -> None:
        host = Host(fal_ai=1)
        tasks = [host.begin(), *(host.begin(model=model) for _ in range(3))]
        await settled()
        assert host.running == 4
        for end in host.ends:
            end.set_result(None)
        await asyncio.gather(*tasks)

    asyncio.run(scene())


def test_an_engine_is_limited_by_its_address() -> None:
    async def scene() -> None:
        inner = Host()
        limited = LimitBackend(inner.limited._backend, key=host_of, limits={"gpu.example:8000": 1})
        model = "openai:name@https://gpu.example:8000/v1"
        tasks = [
            asyncio.create_task(limited.generate(request(model), Context(Path(tempfile.mkdtemp())))) for _ in range(2)
        ]
        await settled()
        assert inner.running == 1
        inner.ends[0].set_result(None)
        await settled()
        inner.ends[0].set_result(None)
        await asyncio.gather(*tasks)

    asyncio.run(scene())


def test_one_who_waits_is_told_for_what(tmp_path: Path) -> None:
    async def scene() -> None:
        host = Host(fal_ai=1)
        contexts = [Context(tmp_path), Context(tmp_path)]
        tasks = [host.begin(context=context) for context in contexts]
        await settled()
        assert contexts[0].latest is None
        progress = contexts[1].latest
        assert progress is not None
        assert (progress.stage, progress.note) == (Stage.QUEUED, "waiting for a place at fal-ai")
        assert not progress.measured
        host.ends[0].set_result(None)
        await settled()
        host.ends[0].set_result(None)
        await asyncio.gather(*tasks)

    asyncio.run(scene())


@pytest.mark.parametrize("how", ["context", "task"])
def test_one_who_leaves_the_line_gives_the_turn_to_the_next(tmp_path: Path, how: str) -> None:
    async def scene() -> None:
        host = Host(fal_ai=1)
        context = Context(tmp_path)
        first, leaver, last = host.begin("a"), host.begin("b", context=context), host.begin("c")
        await settled()
        if how == "context":
            context.cancel()
        else:
            leaver.cancel()
        with pytest.raises((GenerationCancelledError, asyncio.CancelledError)):
            await leaver
        host.ends[0].set_result(None)
        await settled()
        assert host.began == ["a", "c"]
        host.ends[0].set_result(None)
        await asyncio.gather(first, last)

    asyncio.run(scene())


@pytest.mark.parametrize("how", ["context", "task"])
def test_a_cancel_at_the_moment_of_the_turn_loses_no_place(tmp_path: Path, how: str) -> None:
    async def scene() -> None:
        host = Host(fal_ai=1)
        context = Context(tmp_path)
        first, leaver = host.begin("a"), host.begin("b", context=context)
        await settled()
        host.ends[0].set_result(None)
        while not first.done():  # noqa: ASYNC110  (one step at a time, so that none is missed)
            # The place is given in the very step in which the first one ends; the second has not gone on yet.
            await asyncio.sleep(0)
        if how == "context":
            context.cancel()
        else:
            leaver.cancel()
        await settled()
        for end in host.ends:
            end.set_result(None)
        await asyncio.gather(leaver, return_exceptions=True)
        last = host.begin("c")
        await settled()
        assert host.began[-1] == "c"
        host.ends[0].set_result(None)
        await last

    asyncio.run(scene())


def test_a_deadline_ends_the_wait(tmp_path: Path) -> None:
    async def scene() -> None:
        host = Host(fal_ai=1)
        first, late = host.begin(), host.begin(context=Context(tmp_path, deadline_seconds=0.02))
        with pytest.raises(DeadlineExceededError):
            await late
        assert host.running == 1
        host.ends[0].set_result(None)
        await first

    asyncio.run(scene())


def test_a_saved_job_takes_a_place_and_does_not_wait_for_one(tmp_path: Path) -> None:
    async def scene() -> None:
        host = Host(fal_ai=1)
        resumed = Context(tmp_path, handle={"model": FAL})
        tasks = [host.begin("a"), host.begin("resumed", context=resumed), host.begin("b")]
        await settled()
        assert host.began == ["a", "resumed"]
        host.ends[0].set_result(None)
        await settled()
        assert host.began == ["a", "resumed"], "the resumed one has the only place"
        host.ends[0].set_result(None)
        await settled()
        assert host.began == ["a", "resumed", "b"]
        host.ends[0].set_result(None)
        await asyncio.gather(*tasks)

    asyncio.run(scene())


def test_event_loops_in_several_threads_share_the_places(tmp_path: Path) -> None:
    counted = threading.Lock()
    running, most, done = 0, 0, 0

    async def hold(request: VideoRequest, context: Context) -> None:  # noqa: ARG001
        nonlocal running, most, done
        with counted:
            running += 1
            most = max(most, running)
        await asyncio.sleep(0.001)
        with counted:
            running -= 1
            done += 1

    limited = LimitBackend(ScriptedBackend(hold), key=host_of, limits={"fal-ai": 2})

    async def ten() -> None:
        await asyncio.gather(*(limited.generate(request(FAL), Context(tmp_path)) for _ in range(10)))

    threads = [threading.Thread(target=asyncio.run, args=(ten(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (done, most) == (30, 2)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["begin", "end", "fail", "cancel context", "cancel task", "step"]), st.integers(0, 9)),
    max_size=40,
)


@given(limit=st.integers(1, 3), events=EVENTS)
def test_whatever_happens_the_limit_holds_and_every_place_comes_back(
    limit: int, events: Sequence[tuple[str, int]]
) -> None:
    async def scene(folder: Path) -> None:
        host = Host(fal_ai=limit)
        contexts: list[Context] = []
        tasks: list[asyncio.Task[Any]] = []
        for event, number in events:
            match event:
                case "begin":
                    contexts.append(Context(folder, monotonic=FakeClock().monotonic))
                    tasks.append(host.begin(context=contexts[-1]))
                case "end" if host.ends and not (end := host.ends[number % len(host.ends)]).done():
                    end.set_result(None)
                case "fail" if host.ends and not (end := host.ends[number % len(host.ends)]).done():
                    end.set_exception(ProcessingError("The job failed", "denoising"))
                case "cancel context" if contexts:
                    contexts[number % len(contexts)].cancel()
                case "cancel task" if tasks:
                    tasks[number % len(tasks)].cancel()
                case _:
                    await asyncio.sleep(0)
            assert host.running <= limit
        while not all(task.done() for task in tasks):
            for end in host.ends:
                if not end.done():
                    end.set_result(None)
            await asyncio.sleep(0)
            assert host.running <= limit
        after = [host.begin(str(number), context=Context(folder)) for number in range(limit)]
        await settled()
        assert host.running == limit, "all places are free again"
        for end in host.ends:
            end.set_result(None)
        await asyncio.gather(*after)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scene(Path(folder)))
