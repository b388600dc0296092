from __future__ import annotations

from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from cinelet.domain.errors import (
    AuthenticationError,
    CineletError,
    FileSizeError,
    HuggingFaceAPIError,
    ProcessingError,
)
from cinelet.transport.addresses import ForbiddenAddressError
from cinelet.transport.client import Timeouts
from tests.backends.openai_videos.fake_engine import FakeEngine, error
from tests.backends.openai_videos.generation import PRODUCTION, TOKEN, Run
from tests.transport.loopback import Loopback


class TestContent:
    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (Response("<!doctype html><h1>Sorry</h1>"), ProcessingError),
            (JSONResponse({"detail": "no"}), ProcessingError),
            (Response(b""), ProcessingError),
            (error(404, "no"), HuggingFaceAPIError),
            (error(403, "no"), AuthenticationError),
            (Response(b"\0" * 600_000), FileSizeError),
            (RedirectResponse("http://169.254.169.254/latest"), ForbiddenAddressError),
            (RedirectResponse("http://127.0.0.1:1/v.mp4"), ForbiddenAddressError),
        ],
        ids=["page", "json", "empty", "404", "403", "too large", "metadata", "another port"],
    )
    def test_what_is_no_video_is_an_error_that_says_so(
        self, engine: FakeEngine, tmp_path: Path, answer: Response, kind: type[CineletError]
    ) -> None:
        engine.script["content"] = [answer] * 3
        run = Run(engine, tmp_path, max_video_bytes=500_000, timeouts=Timeouts())
        failed = run.fails(kind)
        if bytes(answer.body).startswith(b"<"):
            assert "HTML page" in str(failed)
        assert run.context.handle is not None, "the job is done, and its file may still be had"

    def test_a_redirect_to_storage_is_followed_without_the_token(self, engine: FakeEngine, tmp_path: Path) -> None:
        async def redirect(_request: Request) -> Response:
            # The storage is this engine under another name; it must not see the token.
            (job,) = engine.jobs.values()
            engine.script["content"] = [Response(job.content)]
            return RedirectResponse("https://93.184.215.14/v1/videos/1/content?signature=abc")

        engine.script["content"] = [redirect]
        transport = Loopback(engine.port)
        Run(engine, tmp_path, tokens={"engine.example": TOKEN}, transport=transport).run(model=PRODUCTION)
        first, second = transport.requests[-2:]
        assert first.headers["authorization"] == f"Bearer {TOKEN}"
        assert second.url.host == "93.184.215.14"
        assert "authorization" not in second.headers
