from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

from cinelet.domain.errors import (
    GenerationCancelledError,
    HuggingFaceAPIError,
    SubmissionUnknownError,
)
from cinelet.media.probe import probe
from tests.backends.openai_videos.fake_engine import FakeEngine
from tests.backends.openai_videos.generation import PRODUCTION, TOKEN, Run
from tests.transport.loopback import Loopback


class TestHandle:
    def test_it_is_saved_before_the_request_and_before_the_first_question(
        self, engine: FakeEngine, tmp_path: Path
    ) -> None:
        run = Run(engine, tmp_path)
        run.run()
        before, after = run.saved
        assert before is not None
        assert after is not None
        host = f"127.0.0.1:{engine.port}"
        assert before == {
            "model": run.model,
            "backend": "openai_videos",
            "provider": host,
            "submitting": True,
            "gets_before": 0,
        }
        assert after["gets_before"] == 0
        assert (after["id"], after["seed"]) == (next(iter(engine.jobs)), 5)
        assert "submitting" not in after
        assert json.loads(json.dumps(after)) == after

    def test_a_job_is_taken_up_without_a_second_request(self, engine: FakeEngine, tmp_path: Path) -> None:
        first = Run(engine, tmp_path)
        first.on_progress = lambda progress: first.context.cancel() if progress.step else None
        engine.can_cancel = False
        first.fails(GenerationCancelledError, seed=None)
        handle = first.context.handle
        assert handle is not None
        again = Run(engine, tmp_path, handle=handle)
        video = again.run(seed=None)
        assert engine.posts == 1
        assert again.saved == []
        assert video.seed == handle["seed"]
        assert probe(video.path).frames == 4

    def test_a_job_that_failed_is_not_paid_for_again_by_whoever_takes_over(
        self, engine: FakeEngine, tmp_path: Path
    ) -> None:
        """The process may be killed between hearing of the failure and writing it down."""
        failed = JSONResponse({"id": "1", "status": "failed", "error": {"message": "the lens broke"}})
        engine.script["poll"] = [failed, failed]
        first = Run(engine, tmp_path)
        first.fails(HuggingFaceAPIError)
        assert first.context.handle is not None
        again = Run(engine, tmp_path, handle=first.context.handle)
        again.fails(HuggingFaceAPIError)
        assert engine.posts == 1

    def test_a_request_that_was_being_sent_is_not_sent_again(self, engine: FakeEngine, tmp_path: Path) -> None:
        run = Run(engine, tmp_path)
        run.handle = {"model": run.model, "backend": "openai_videos", "provider": "x", "submitting": True}
        run.fails(SubmissionUnknownError)
        assert engine.requests == []

    @pytest.mark.parametrize("name", [None, 7, "", "x" * 501, "..", ".", "a\nb", ["a"]])
    def test_a_damaged_handle_is_not_asked_about(self, engine: FakeEngine, tmp_path: Path, name: Any) -> None:
        run = Run(engine, tmp_path)
        run.handle = {"model": run.model, "backend": "openai_videos", "provider": "x", "id": name}
        run.fails(SubmissionUnknownError)
        assert engine.requests == []

    @pytest.mark.parametrize("changed", [{"backend": "huggingface"}, {"model": "openai:other@https://o.example/v1"}])
    def test_a_handle_of_something_else_is_left_alone(
        self, engine: FakeEngine, tmp_path: Path, changed: dict[str, str]
    ) -> None:
        run = Run(engine, tmp_path)
        run.handle = {"model": run.model, "backend": "openai_videos", "submitting": True, **changed}
        run.run()
        assert engine.posts == 1

    def test_an_address_in_a_handle_gets_nothing(self, engine: FakeEngine, tmp_path: Path) -> None:
        # Whatever somebody has written into the database, only the host of the reference is asked.
        addresses = ("url", "poll_url", "status_url", "content_url", "base_url", "provider")
        transport = Loopback(engine.port)
        run = Run(engine, tmp_path, tokens={"engine.example": TOKEN}, transport=transport)
        basis = {"model": PRODUCTION, "backend": "openai_videos", "id": "@evil.example/../../x?a#b"}
        run.handle = {**basis, **dict.fromkeys(addresses, "https://evil.example/v1")}
        run.fails(HuggingFaceAPIError, model=PRODUCTION)
        assert set(transport.hosts) == {"engine.example"}
        paths = {request.url.raw_path for request in transport.requests}
        assert paths == {b"/v1/videos/%40evil.example%2F..%2F..%2Fx%3Fa%23b"}
