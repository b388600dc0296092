from __future__ import annotations

from pathlib import Path

import pytest
from starlette.responses import JSONResponse, Response

from cinelet.domain.errors import (
    AuthenticationError,
    CineletError,
    HuggingFaceAPIError,
    ModelNotFoundError,
    ModelUnsupportedError,
    PaymentRequiredError,
    RateLimitError,
    SubmissionUnknownError,
    ValidationError,
)
from tests.backends.openai_videos.fake_engine import FakeEngine, error
from tests.backends.openai_videos.generation import Run


class TestCreate:
    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (error(400, "no"), ValidationError),
            (JSONResponse({"detail": [{"loc": ["body", "size"], "msg": "no"}]}, 422), ValidationError),
            (error(400, "no", code="model_not_found", param="model"), ModelNotFoundError),
            (error(402, "no"), PaymentRequiredError),
            (error(403, "no"), AuthenticationError),
            (error(404, "no"), ModelNotFoundError),
            (error(405, "no"), ModelUnsupportedError),
            (error(409, "no"), ModelUnsupportedError),
            (error(429, "no"), RateLimitError),
            (error(503, "no"), HuggingFaceAPIError),
        ],
        ids=["400", "422", "400 model", "402", "403", "404", "405", "409", "429", "503"],
    )
    def test_a_refusal_is_known_not_to_run(
        self, engine: FakeEngine, tmp_path: Path, answer: Response, kind: type[CineletError]
    ) -> None:
        engine.script["create"] = [answer]
        run = Run(engine, tmp_path)
        failed = run.fails(kind)
        assert "no" in str(failed)
        assert not getattr(failed, "accepted", False)
        assert (engine.posts, run.saved[-1], run.context.handle) == (1, None, None)

    def test_an_unknown_model_is_not_found(self, engine: FakeEngine, tmp_path: Path) -> None:
        failed = Run(engine, tmp_path).fails(ModelNotFoundError, model=f"openai:missing@{engine.url}")
        assert "missing" in str(failed)

    @pytest.mark.parametrize(
        "answer",
        [
            *(error(status, "no") for status in (408, 500, 502, 504)),
            *map(JSONResponse, ({}, {"id": 7}, {"id": ".."}, [])),
            Response("<html>"),
        ],
        ids=["408", "500", "502", "504", "no id", "number", "dots", "list", "page"],
    )
    def test_an_unknown_outcome_is_never_sent_again(self, engine: FakeEngine, tmp_path: Path, answer: Response) -> None:
        engine.script["create"] = [answer]
        run = Run(engine, tmp_path)
        failed = run.fails(SubmissionUnknownError)
        assert engine.posts == 1
        assert run.context.handle is not None
        assert run.context.handle["submitting"]
        assert not failed.retryable
        # Whoever finds the handle later does not send it either.
        Run(engine, tmp_path, handle=run.context.handle).fails(SubmissionUnknownError)
        assert engine.posts == 1

    def test_an_engine_that_is_down_was_not_asked(self, engine_that_is_down: FakeEngine, tmp_path: Path) -> None:
        run = Run(engine_that_is_down, tmp_path)
        failed = run.fails(HuggingFaceAPIError)
        assert (failed.accepted, run.context.handle) == (False, None)
