from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.responses import JSONResponse, Response

from cinelet.backends.openai_videos.engine import poll_after_seconds
from cinelet.clock import FakeClock
from cinelet.domain.errors import (
    AuthenticationError,
    CineletError,
    HuggingFaceAPIError,
)
from cinelet.domain.progress import Stage
from cinelet.transport.polling import PollSchedule
from tests.backends.openai_videos.fake_engine import FakeEngine, error
from tests.backends.openai_videos.generation import Run


class TestFollow:
    @pytest.mark.parametrize(
        "answer",
        [
            *(error(status, "no") for status in (404, 401, 429, 500, 503)),
            Response("<html>"),
            *(JSONResponse({"id": "1", "status": status}) for status in ("processing", "unheard-of", None, 7)),
        ],
        ids=["404", "401", "429", "500", "503", "page", "processing", "unknown", "none", "number"],
    )
    def test_a_poll_that_says_nothing_does_not_end_the_job(
        self, engine: FakeEngine, tmp_path: Path, answer: Response
    ) -> None:
        engine.script["poll"] = [answer, answer]
        Run(engine, tmp_path).run()
        assert engine.posts == 1

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            ({"error": {"code": "content_policy", "message": "refused"}}, "content_policy: refused"),
            ({"error": {"message": "out of memory"}}, "out of memory"),
            ({"error": "plain"}, "plain"),
            ({"error": None}, "it does not say why"),
            ({}, "it does not say why"),
        ],
        ids=["code", "message", "text", "none", "nothing"],
    )
    def test_a_failed_job_says_why(self, engine: FakeEngine, tmp_path: Path, said: dict[str, Any], words: str) -> None:
        engine.script["poll"] = [None, JSONResponse({"status": "failed", **said})]
        run = Run(engine, tmp_path)
        failed = run.fails(HuggingFaceAPIError)
        assert words in str(failed)
        assert (failed.accepted, failed.request_id) == (True, next(iter(engine.jobs)))
        assert (engine.posts, engine.count("DELETE"), run.is_over) == (1, 0, True)

    @pytest.mark.parametrize("status", ["cancelled", "canceled", "CANCELLED", "expired", "deleted", "error"])
    def test_a_job_that_ended_otherwise_is_a_failure(self, engine: FakeEngine, tmp_path: Path, status: str) -> None:
        engine.script["poll"] = [JSONResponse({"status": status})]
        assert status.lower() in str(Run(engine, tmp_path).fails(HuggingFaceAPIError))

    @pytest.mark.parametrize(
        ("status", "kind", "kept"), [(404, HuggingFaceAPIError, False), (401, AuthenticationError, True)]
    )
    def test_a_refusal_that_stays_ends_it(
        self, engine: FakeEngine, tmp_path: Path, status: int, kind: type[CineletError], kept: bool
    ) -> None:
        engine.script["poll"] = [error(status, "no")] * 9
        run = Run(engine, tmp_path)
        assert run.fails(kind).accepted
        assert run.is_over is not kept, "a job that nobody knows any more is over"

    @pytest.mark.parametrize("progress", [None, "50", -3, 250, 1e400, True, 33.3])
    def test_no_progress_breaks_it(self, engine: FakeEngine, tmp_path: Path, progress: Any) -> None:
        body = json.dumps({"status": "in_progress", "progress": progress})
        engine.script["poll"] = [Response(body, media_type="application/json")]
        run = Run(engine, tmp_path)
        run.run()
        assert all(0 <= seen.step <= 100 for seen in run.seen if seen.stage is Stage.DENOISING)

    def test_the_engine_says_when_to_ask_again(self, engine: FakeEngine, tmp_path: Path) -> None:
        busy = JSONResponse({"status": "queued"}, headers={"openai-poll-after-ms": "7000"})
        engine.script["poll"] = [busy, error(429, "no")]
        clock = FakeClock()
        Run(engine, tmp_path, clock=clock, schedule=PollSchedule(jitter=0), random=lambda: 0.5).run()
        first, after_busy, after_refusal = clock.pauses_seconds[:3]
        assert (round(first), after_busy) == (2, 7)
        assert after_refusal == pytest.approx(9 * 0.12, abs=0.01)

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"openai-poll-after-ms": "2500"}, 2.5),
            ({"openai-poll-after-ms": "soon", "retry-after": "3"}, 3),
            ({"openai-poll-after-ms": "9" * 20}, None),
            ({}, None),
        ],
    )
    def test_the_hint_is_read(self, headers: dict[str, str], seconds: float | None) -> None:
        assert poll_after_seconds(httpx2.Headers(headers)) == seconds
