from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cinelet.domain.errors import (
    DeadlineExceededError,
    GenerationCancelledError,
)
from tests.backends.openai_videos.fake_engine import FakeEngine, error
from tests.backends.openai_videos.generation import TOKEN, Run
from tests.transport.loopback import names


class TestStop:
    def test_a_cancel_reaches_the_engine(self, engine: FakeEngine, tmp_path: Path) -> None:
        run = Run(engine, tmp_path, tokens={f"127.0.0.1:{engine.port}": TOKEN})
        run.on_progress = lambda progress: run.context.cancel() if progress.step else None
        run.fails(GenerationCancelledError)
        (deleted,) = (asked for asked in engine.requests if asked.method == "DELETE")
        assert deleted.headers["authorization"] == f"Bearer {TOKEN}"
        assert (engine.jobs, run.is_over) == ({}, True)

    def test_a_deadline_reaches_the_engine(self, engine: FakeEngine, tmp_path: Path) -> None:
        engine.script["poll"] = [JSONResponse({"status": "queued"})] * 1000
        run = Run(engine, tmp_path)
        run.deadline_seconds = 0.3
        run.fails(DeadlineExceededError)
        assert (engine.count("DELETE"), engine.jobs) == (1, {})

    @pytest.mark.parametrize("answer", [error(404, "gone"), error(410, "gone")], ids=["404", "410"])
    def test_a_job_that_is_gone_is_over(self, engine: FakeEngine, tmp_path: Path, answer: Response) -> None:
        engine.script["cancel"] = [answer]
        run = Run(engine, tmp_path)
        run.on_progress = lambda progress: run.context.cancel() if progress.step else None
        run.fails(GenerationCancelledError)
        assert run.is_over

    @pytest.mark.parametrize("status", [405, 500, 501])
    def test_an_engine_that_cannot_cancel_keeps_its_job_and_its_handle(
        self, engine: FakeEngine, tmp_path: Path, status: int
    ) -> None:
        engine.script["cancel"] = [error(status, "no")]
        run = Run(engine, tmp_path)
        run.on_progress = lambda progress: run.context.cancel() if progress.step else None
        run.fails(GenerationCancelledError)
        assert run.context.handle is not None
        assert run.context.handle["id"] in engine.jobs

    def test_cancelling_the_task_while_the_request_is_sent_cancels_the_job(
        self, engine: FakeEngine, tmp_path: Path
    ) -> None:
        run = Run(engine, tmp_path)

        async def cancelled() -> None:
            arrived, answered = asyncio.Event(), asyncio.Event()
            loop = asyncio.get_running_loop()

            async def hold(_request: Request) -> Response:
                loop.call_soon_threadsafe(arrived.set)
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answered.wait(), loop))
                engine.script["cancel"] = [JSONResponse({"id": "late", "deleted": True})]
                return JSONResponse({"id": "late", "status": "queued"})

            engine.script["create"] = [hold]
            task = asyncio.ensure_future(run.generate())
            await arrived.wait()
            task.cancel()
            await asyncio.sleep(0)
            answered.set()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancelled())
        assert run.context.cancelled
        assert (engine.posts, engine.count("DELETE", "/late"), run.is_over) == (1, 1, True)

    @pytest.mark.parametrize("stage", ["create", "poll", "content", "cancel"])
    def test_an_engine_that_hangs_does_not_outlast_the_deadline(
        self, engine: FakeEngine, tmp_path: Path, stage: str
    ) -> None:
        async def hang(request: Request) -> Response:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            return Response()

        engine.script[stage] = [hang]
        if stage == "cancel":
            engine.script["poll"] = [JSONResponse({"status": "queued"})] * 1000
        run = Run(engine, tmp_path)
        run.deadline_seconds = 0.4
        loop_time: list[float] = []

        async def timed() -> None:
            loop_time.append(asyncio.get_running_loop().time())
            try:
                await run.generate()
            finally:
                loop_time.append(asyncio.get_running_loop().time())

        run.context = run.make_context()
        with pytest.raises(DeadlineExceededError):
            asyncio.run(timed())
        assert loop_time[1] - loop_time[0] < 1.4
        assert names(run.context) == []
        assert engine.posts == 1
