"""Regional compilation: blocks that are compiled once, and left aside for an exact video."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from cinelet.backends.diffusers import SpeedSettings, compilation
from tests.backends.diffusers.fast_runs import Bench, changes, traces
from tests.conftest import TinyPipeline

COMPILE = torch.compile


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trace and guard as always, but run what was traced as it is: a compiler takes half a minute for a block."""
    monkeypatch.setattr(torch, "compile", lambda function, **options: COMPILE(function, backend="eager", **options))
    yield
    torch._dynamo.reset()


@pytest.fixture
def case(
    tiny_pipeline: TinyPipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_compiler: None,  # noqa: ARG001
) -> Iterator[Bench]:
    case = Bench(tmp_path, monkeypatch, tiny_pipeline("wan_t2v"), SpeedSettings(compile="on"))
    yield case
    case.close()


def test_blocks_are_compiled_once_and_the_time_of_it_is_told(case: Bench) -> None:
    first, _ = case.generate("balanced")
    assert first.applied["speed"] == {"quality": "balanced", "compile": True}
    assert first.timings["compiling"] > 0
    second, _ = case.generate("balanced")
    assert "compiling" not in second.timings
    fast, _ = case.generate("fast")
    assert fast.applied["speed"] == {"quality": "fast", "compile": True, "step_cache": "taylorseer"}
    assert "compiling" not in fast.timings, "the cache was compiled with the blocks"


def test_exact_runs_beside_the_compiled_blocks_and_does_not_lose_them(case: Bench) -> None:
    _, exact = case.generate("exact")
    case.generate("balanced")
    assert traces(case.pipeline) == []
    _, after = case.generate("exact")
    assert (after == exact).all()
    again, _ = case.generate("balanced")
    assert "compiling" not in again.timings


def test_a_block_that_cannot_be_compiled_runs_as_it_is_and_the_result_says_so(
    case: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, exact = case.generate("exact")
    tries: list[Any] = []

    def broken(*tried: Any) -> Any:
        tries.append(tried)
        raise FileNotFoundError("no C compiler")

    monkeypatch.setattr(compilation, "compiled", partial(compilation.compiled, backend=broken))
    monkeypatch.setattr(torch, "compile", COMPILE)
    video, frames = case.generate("balanced")
    assert (frames == exact).all()
    assert "no C compiler" in changes(video)["compile"].reason
    assert video.applied["speed"] == {"quality": "balanced"}
    assert len(tries) == 1
    later, frames = case.generate("balanced")
    assert (frames == exact).all()
    assert changes(later)["compile"] == changes(video)["compile"]
    assert later.applied["speed"] == {"quality": "balanced"}
    assert "compiling" not in later.timings
    assert len(tries) == 1, "what failed once is not tried for each video"


def test_a_model_without_known_blocks_says_so(
    tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Bench(tmp_path, monkeypatch, tiny_pipeline("cogvideox"), SpeedSettings(compile="on"))
    video, _ = case.generate("balanced")
    case.close()
    assert "names no blocks" in changes(video)["compile"].reason


def test_blocks_that_are_moved_to_the_device_one_by_one_are_not_compiled(case: Bench) -> None:
    case.generate("exact")
    block = case.pipeline.transformer.blocks[0]
    block.forward = block.forward
    assert "one by one" in (compilation.why_not(case.pipeline) or "")
    del block.forward
    assert compilation.why_not(case.pipeline) is None


@pytest.mark.slow
def test_a_real_compiler_makes_nearly_the_same_video(
    tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Bench(tmp_path, monkeypatch, tiny_pipeline("wan_t2v"), SpeedSettings(compile="on"))
    _, exact = case.generate("exact")
    video, compiled = case.generate("balanced")
    if "compile" in changes(video):
        pytest.skip(changes(video)["compile"].reason)
    assert abs(compiled.astype(int) - exact).max() <= 4
    _, after = case.generate("exact")
    assert (after == exact).all()
    case.close()
    torch._dynamo.reset()
