from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from cinelet.backends.openai_videos import OpenAIVideosBackend
from cinelet.domain.backend import Context
from cinelet.domain.errors import (
    ModelNotFoundError,
    ModelUnsupportedError,
    ValidationError,
)
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Stage
from cinelet.domain.request import Task
from cinelet.media.probe import probe
from cinelet.testing import example_image
from tests.backends.openai_videos.fake_engine import MODEL, FakeEngine, error
from tests.backends.openai_videos.generation import QUICK, Run
from tests.transport.loopback import without_tls


class TestGenerate:
    def test_the_video_is_the_engines_and_says_who_made_it(self, engine: FakeEngine, tmp_path: Path) -> None:
        video = Run(engine, tmp_path).run()
        facts = probe(video.path)
        assert (facts.frames, facts.resolution, video.path.name) == (4, "64x48", "video.mp4")
        assert (video.model, video.seed) == (f"openai:{MODEL}@{engine.url}", 5)
        assert (video.provider, video.request_id) == (f"127.0.0.1:{engine.port}", next(iter(engine.jobs)))
        assert video.adjustments == ()
        assert video.applied == {
            "duration": 1.0,
            "fps": 4,
            "num_frames": 4,
            "width": 64,
            "height": 48,
            "seed": 5,
        }
        assert set(video.timings) == {"denoising", "downloading"}

    def test_the_request_is_a_form_even_without_a_file(self, engine: FakeEngine, tmp_path: Path) -> None:
        Run(engine, tmp_path).run(prompt="über\r\nzwei")
        (posted,) = (asked for asked in engine.requests if asked.method == "POST")
        assert posted.headers["content-type"].startswith("multipart/form-data")
        assert posted.form["prompt"] == "über\r\nzwei"
        assert posted.form["model"] == MODEL

    def test_an_image_arrives_as_it_was_given(self, engine: FakeEngine, tmp_path: Path) -> None:
        Run(engine, tmp_path).run(task=Task.IMAGE_TO_VIDEO, image=example_image())
        (posted,) = (asked for asked in engine.requests if asked.method == "POST")
        assert posted.form["input_reference"] == ("image.png", "image/png", example_image())

    def test_a_seed_is_chosen_where_none_is_given(self, engine: FakeEngine, tmp_path: Path) -> None:
        video = Run(engine, tmp_path, random=lambda: 0.5).run(seed=None)
        assert video.seed == 2**30
        assert engine.requests[0].form["seed"] == str(2**30)

    def test_progress_is_what_the_engine_measured(self, engine: FakeEngine, tmp_path: Path) -> None:
        run = Run(engine, tmp_path)
        run.run()
        measured = [(seen.stage, seen.step, seen.steps) for seen in run.seen if seen.stage is Stage.DENOISING]
        assert measured == [(Stage.DENOISING, 50, 100), (Stage.DENOISING, 100, 100)]
        assert run.seen[0].stage is Stage.QUEUED
        assert run.seen[-1].stage is Stage.DOWNLOADING
        assert run.seen[-1].fraction == 1.0

    def test_what_the_engine_makes_otherwise_is_told(self, engine: FakeEngine, tmp_path: Path) -> None:
        engine.makes = {"fps": 8.0, "num_frames": 8.0, "width": 32.0, "height": 32.0}
        video = Run(engine, tmp_path).run()
        told = {change.parameter: (change.requested, change.applied) for change in video.adjustments}
        assert told == {"fps": (4, 8), "width": (64, 32), "height": (48, 32)}

    def test_one_backend_serves_one_event_loop_after_another(self, engine: FakeEngine, tmp_path: Path) -> None:
        backend = OpenAIVideosBackend(schedule=QUICK)
        run = Run(engine, tmp_path)

        async def generate(folder: Path) -> None:
            await backend.generate(run.request(), Context(folder))
            await backend.aclose()

        for number in range(2):
            (folder := tmp_path / str(number)).mkdir()
            asyncio.run(generate(folder))

    @pytest.mark.parametrize("model", ["local:org/name", "hf:org/name", "https://host.example/v1"])
    def test_a_reference_of_another_kind_is_refused(self, engine: FakeEngine, tmp_path: Path, model: str) -> None:
        Run(engine, tmp_path).fails(ModelUnsupportedError, model=model)

    @pytest.mark.parametrize(
        "url", ["https://999.1.1.1/v1", "https://engine.example/v1?key=abc", "https://e.example/#a"]
    )
    def test_an_address_that_no_path_can_follow_is_refused(self, engine: FakeEngine, tmp_path: Path, url: str) -> None:
        assert "abc" not in str(Run(engine, tmp_path).fails(ValidationError, model=f"openai:m@{url}"))

    def test_a_slash_at_the_end_of_the_address_is_no_matter(self, engine: FakeEngine, tmp_path: Path) -> None:
        Run(engine, tmp_path).run(model=f"openai:{MODEL}@{engine.url}/")
        assert engine.count("POST", "/v1/videos") == 1


class TestCapabilities:
    def ask(self, engine: FakeEngine, name: str = MODEL) -> Any:
        async def ask() -> Any:
            backend = OpenAIVideosBackend(transport=without_tls())
            try:
                return await backend.capabilities(ModelReference.parse(f"openai:{name}@{engine.url}"))
            finally:
                await backend.aclose()

        return asyncio.run(ask())

    def test_they_are_those_of_the_protocol(self, engine: FakeEngine) -> None:
        found = self.ask(engine)
        assert found.tasks == frozenset(Task)
        assert found.runs_on == f"127.0.0.1:{engine.port}"
        assert {"seed", "width", "negative_prompt"} <= found.parameters
        assert not {"codec", "preset", "image_fit"} & found.parameters

    def test_a_model_that_is_not_listed_is_not_found(self, engine: FakeEngine) -> None:
        with pytest.raises(ModelNotFoundError, match=MODEL):
            self.ask(engine, "missing")

    @pytest.mark.parametrize(
        "listed",
        [
            JSONResponse({"data": [{"id": "vendor/*"}]}),
            JSONResponse({"data": []}),
            JSONResponse({"data": [7, {"id": None}]}),
            JSONResponse({"data": "x"}),
            JSONResponse([]),
            error(404, "no"),
            error(500, "no"),
            Response("<html>"),
        ],
        ids=["pattern", "empty", "no names", "text", "list", "404", "500", "page"],
    )
    def test_an_engine_that_does_not_tell_may_have_it(self, engine: FakeEngine, listed: Response) -> None:
        engine.script["models"] = [listed]
        assert self.ask(engine, "vendor/any").tasks

    def test_an_engine_that_is_down_may_have_it(self, engine_that_is_down: FakeEngine) -> None:
        assert self.ask(engine_that_is_down).tasks
