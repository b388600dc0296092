"""Speed on a pipeline: what is used is reported, and nothing of it is there for the next video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cinelet.backends.diffusers import SpeedSettings, step_cache
from cinelet.domain.errors import GenerationCancelledError, ProcessingError
from cinelet.domain.progress import Stage
from tests.backends.diffusers.fast_runs import Bench, changes, plain_frames, traces
from tests.conftest import TinyPipeline

MODELS = ("wan_t2v", "wan22_moe", "ltx", "cogvideox", "hunyuan_video", "embedded")
CACHES: list[tuple[str, str]] = [
    *((model, "taylorseer") for model in ("wan_t2v", "wan22_moe", "ltx", "cogvideox", "hunyuan_video", "mochi")),
    *((model, "first-block") for model in ("wan_t2v", "ltx", "cogvideox", "mochi")),
    *((model, "pab") for model in ("ltx", "cogvideox", "hunyuan_video", "mochi")),
    *((model, "fastercache") for model in ("cogvideox", "mochi")),
    *((model, "guidance") for model in ("ltx", "cogvideox", "text_to_video_sd", "latte", "animatediff")),
]

Make = Callable[..., Bench]


@pytest.fixture
def bench(tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[Bench] = []

    def make(model: str, **settings: Any) -> Bench:
        directory = None if model == "embedded" else tiny_pipeline(model)
        made.append(Bench(tmp_path, monkeypatch, directory, SpeedSettings(**settings)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("model", MODELS)
def test_exact_is_plain_diffusers_bit_for_bit_before_and_after_a_fast_video_of_the_same_pipeline(
    bench: Make, model: str
) -> None:
    case = bench(model)
    before, first = case.generate("exact")
    pipeline = case.pipeline
    fast, other = case.generate("fast")
    after, again = case.generate("exact")
    assert case.pipeline is pipeline
    assert (first == plain_frames(case.model, before.applied)).all()
    assert (again == first).all()
    assert (other != first).any()
    assert fast.applied["speed"] == {"quality": "fast", "step_cache": "taylorseer"}
    assert before.applied["speed"] == after.applied["speed"] == {"quality": "exact"}
    assert traces(pipeline) == []


def test_balanced_on_a_processor_is_exact(bench: Make) -> None:
    case = bench("ltx")
    _, exact = case.generate("exact")
    video, balanced = case.generate(None)
    assert (balanced == exact).all()
    assert video.applied["speed"] == {"quality": "balanced"}


@pytest.mark.parametrize(("model", "cache"), CACHES)
def test_a_cache_that_the_operator_names_changes_a_video_and_leaves_nothing(
    bench: Make, model: str, cache: str
) -> None:
    case = bench(model, step_cache=cache)
    _, exact = case.generate("exact")
    video, cached = case.generate("balanced")
    _, again = case.generate("balanced")
    _, after = case.generate("exact")
    assert video.applied["speed"] == {"quality": "balanced", "step_cache": cache}
    assert (cached != exact).any()
    assert (again == cached).all(), "the cache began with what an earlier run left"
    assert (after == exact).all()
    assert traces(case.pipeline) == []


def test_a_cache_waits_for_the_device_once_a_step() -> None:
    class Timestep:
        def __init__(self, number: int) -> None:
            self.number, self.asked = number, 0

        def __int__(self) -> int:
            self.asked += 1
            return self.number

    pipeline = SimpleNamespace(current_timestep=None)
    now = step_cache._clock(pipeline)
    assert now() == 0
    for number in (900, 0, 900):
        pipeline.current_timestep = step = Timestep(number)
        assert [now(), now(), now()] == [number] * 3
        assert step.asked == 1
    pipeline.current_timestep = None
    assert now() == 0


@pytest.mark.parametrize(
    ("model", "cache", "why"),
    [
        ("text_to_video_sd", "first-block", "no such cache"),
        ("latte", "taylorseer", "does not tell"),
        ("wan_t2v", "pab", "two calls"),
        ("wan_t2v", "guidance", "two calls"),
        ("hunyuan_video", "guidance", "without guidance"),
        ("ltx", "fastercache", "a form that this cache does not know"),
        ("hunyuan_video15", "first-block", "less than two blocks"),
    ],
)
def test_a_cache_that_a_family_cannot_have_is_an_adjustment(bench: Make, model: str, cache: str, why: str) -> None:
    case = bench(model, step_cache=cache)
    video, frames = case.generate("balanced")
    assert why in changes(video)["step_cache"].reason
    assert (changes(video)["step_cache"].requested, changes(video)["step_cache"].applied) == (cache, None)
    assert video.applied["speed"] == {"quality": "balanced"}
    _, exact = case.generate("exact")
    assert (frames == exact).all()


def test_what_had_no_effect_in_the_run_is_not_said_to_be_used(bench: Make) -> None:
    video, _ = bench("ltx", step_cache="guidance").generate("fast", num_inference_steps=2)
    assert "step_cache" not in video.applied["speed"]
    assert "no step" in changes(video)["step_cache"].reason


def test_fast_that_is_no_faster_says_so_where_it_was_asked_for(bench: Make) -> None:
    asked, _ = bench("ltx").generate("fast", num_inference_steps=4)
    assert changes(asked)["quality"].applied == "exact"
    silent, _ = bench("ltx", quality="fast").generate(None, num_inference_steps=4)
    assert "quality" not in changes(silent)


def test_each_run_of_a_long_clip_begins_with_an_empty_cache(bench: Make) -> None:
    case = bench("embedded")
    video, frames = case.generate("fast", duration=8)
    assert video.applied["windows"] == 2
    assert video.applied["speed"]["step_cache"] == "taylorseer"
    _, again = case.generate("fast", duration=8)
    assert (again == frames).all()
    assert traces(case.pipeline) == []


def test_a_cancelled_fast_video_leaves_nothing(bench: Make) -> None:
    case = bench("ltx", attention="math", channels_last="on")
    _, exact = case.generate("exact")

    def stop(progress: Any) -> None:
        if progress.stage is Stage.DENOISING and progress.step == 9:
            raise GenerationCancelledError("enough")

    with pytest.raises(GenerationCancelledError):
        case.generate("fast", on_progress=stop)
    assert traces(case.pipeline) == []
    _, after = case.generate("exact")
    assert (after == exact).all()


def test_a_fast_video_that_fails_leaves_nothing(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    case = bench("ltx")
    _, exact = case.generate("exact")
    pipeline = case.pipeline

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the decoder is out of order")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.vae, "decode", fail)
        with pytest.raises(ProcessingError, match="out of order"):
            case.generate("fast")
    assert traces(pipeline) == []
    _, after = case.generate("exact")
    assert (after == exact).all()


@pytest.mark.parametrize("model", ["wan_t2v", "ltx", "text_to_video_sd"])
def test_an_autoencoder_that_lay_in_another_order_lies_as_before(bench: Make, model: str) -> None:
    case = bench(model, channels_last="on")
    _, exact = case.generate("exact")
    strides = [weight.stride() for weight in case.pipeline.vae.parameters()]
    video, other = case.generate("balanced")
    assert video.applied["speed"] == {"quality": "balanced", "channels_last": True}
    assert abs(other.astype(int) - exact).max() <= 2
    assert [weight.stride() for weight in case.pipeline.vae.parameters()] == strides
    _, after = case.generate("exact")
    assert (after == exact).all()
