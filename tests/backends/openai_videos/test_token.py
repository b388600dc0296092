from __future__ import annotations

from pathlib import Path

import pytest

from cinelet.backends.openai_videos import OpenAIVideosBackend
from cinelet.domain.errors import (
    AuthenticationError,
)
from tests.backends.openai_videos.fake_engine import MODEL, FakeEngine, error
from tests.backends.openai_videos.generation import PRODUCTION, TOKEN, Run
from tests.transport.loopback import Loopback


class TestToken:
    @pytest.mark.parametrize("host", ["engine.example", "Engine.Example", "engine.example:8443"])
    def test_it_is_sent_to_its_host(self, engine: FakeEngine, tmp_path: Path, host: str) -> None:
        engine.token = TOKEN
        run = Run(engine, tmp_path, tokens={host: TOKEN}, transport=Loopback(engine.port))
        run.run(model=f"openai:{MODEL}@https://engine.example:8443/v1")
        assert engine.count("GET", "/content") == 1
        assert {asked.headers["authorization"] for asked in engine.requests} == {f"Bearer {TOKEN}"}

    @pytest.mark.parametrize("host", ["other.example", "example", "engine.example:9000", "ngine.example"])
    def test_it_is_sent_to_no_other(self, engine: FakeEngine, tmp_path: Path, host: str) -> None:
        Run(engine, tmp_path, tokens={host: TOKEN}, transport=Loopback(engine.port)).run(model=PRODUCTION)
        assert all("authorization" not in asked.headers for asked in engine.requests)

    def test_a_missing_one_is_an_error_before_any_work(self, engine: FakeEngine, tmp_path: Path) -> None:
        engine.token = TOKEN
        run = Run(engine, tmp_path)
        failed = run.fails(AuthenticationError)
        assert (failed.status, failed.accepted, failed.request_id) == (401, False, "req_1")
        assert run.saved[-1] is None

    @pytest.mark.parametrize("token", ["line\nbreak", "schl\u00fcssel", "tab\t"])
    def test_one_that_cannot_be_sent_is_an_error_that_does_not_show_it(
        self, engine: FakeEngine, tmp_path: Path, token: str
    ) -> None:
        failed = Run(engine, tmp_path, tokens={"127.0.0.1": token}).fails(AuthenticationError)
        assert token not in str(failed)
        assert engine.requests == []

    def test_it_is_shown_nowhere(self, engine: FakeEngine, tmp_path: Path) -> None:
        engine.script["create"] = [error(403, f"{TOKEN} may not do this")]
        run = Run(engine, tmp_path, tokens={f"127.0.0.1:{engine.port}": TOKEN})
        failed = run.fails(AuthenticationError)
        assert "may not do this" in str(failed)
        assert TOKEN not in repr(OpenAIVideosBackend(tokens={"h": TOKEN})) + repr(failed) + repr(run.saved)
