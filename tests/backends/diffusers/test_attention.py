"""Attention by another program: used where it can compute what the model needs, declined otherwise, and put back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
from diffusers.models import attention_dispatch

from cinelet.backends.diffusers import SpeedSettings, attention
from cinelet.domain.request import Task
from cinelet.testing import example_image
from tests.backends.diffusers.fast_runs import Bench, changes, traces
from tests.conftest import TinyPipeline

Make = Callable[..., Bench]


@pytest.fixture
def bench(tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[Bench] = []

    def make(model: str, **settings: Any) -> Bench:
        made.append(Bench(tmp_path, monkeypatch, tiny_pipeline(model), SpeedSettings(**settings)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_attention_by_another_program_is_used_and_put_back(bench: Make) -> None:
    case = bench("wan_t2v", attention="math")
    _, exact = case.generate("exact")
    video, other = case.generate("balanced")
    assert video.applied["speed"] == {"quality": "balanced", "attention": "math"}
    assert abs(other.astype(int) - exact).max() <= 2
    assert traces(case.pipeline) == []


@pytest.mark.parametrize(
    ("model", "attention", "why"),
    [("wan_t2v", "cudnn", "CUDA only"), ("cogvideox", "math", "cannot be exchanged")],
)
def test_attention_that_cannot_be_is_an_adjustment(bench: Make, model: str, attention: str, why: str) -> None:
    video, _ = bench(model, attention=attention).generate("balanced")
    assert why in changes(video)["attention"].reason
    assert "attention" not in video.applied["speed"]


@pytest.fixture
def without_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a stand-in for the programs of a GPU here, which refuses masks as they do."""

    def computed(*, attn_mask: Any, **named: Any) -> Any:
        assert attn_mask is None, "`attn_mask` is not supported"
        return attention_dispatch._native_attention(**named)

    for name in ("flash", "sage", "xformers"):
        program = attention_dispatch.AttentionBackendName(name)
        monkeypatch.setitem(attention_dispatch._AttentionBackendRegistry._backends, program, computed)
    monkeypatch.setattr(attention_dispatch, "_check_attention_backend_requirements", lambda _: None)
    monkeypatch.setattr(attention, "_ON_CUDA_ONLY", frozenset())
    monkeypatch.setattr(SpeedSettings, "check", lambda _: None)


@pytest.mark.usefixtures("without_masks")
@pytest.mark.parametrize(
    ("model", "name"), [("framepack", "flash"), ("ltx", "flash"), ("ltx2", "sage"), ("skyreels_v2", "xformers")]
)
def test_a_program_without_masks_computes_what_has_none(bench: Make, model: str, name: str) -> None:
    case = bench(model, attention=name)
    fields: dict[str, Any] = {"num_inference_steps": 2}
    if model == "framepack":
        fields |= {"task": Task.IMAGE_TO_VIDEO, "image": example_image()}
    video, frames = case.generate("balanced", **fields)
    assert video.applied["speed"] == {"quality": "balanced", "attention": name}
    _, exact = case.generate("exact", **fields)
    assert abs(frames.astype(int) - exact).max() <= 2


@pytest.mark.usefixtures("without_masks")
@pytest.mark.parametrize(
    "model", ["anyflow_far", "hunyuan_video", "hunyuan_video15", "kandinsky6", "motif", "sana_video"]
)
def test_a_program_without_masks_is_declined_where_there_are_masks(tiny_pipeline: TinyPipeline, model: str) -> None:
    pipeline = load(tiny_pipeline(model))
    for name in ("flash", "sage"):
        assert "cannot leave out" in str(attention.why_not(name, pipeline, device="cpu"))


@pytest.mark.usefixtures("without_masks")
def test_a_run_whose_program_is_declined_is_as_it_would_be_without(bench: Make) -> None:
    case = bench("hunyuan_video", attention="flash")
    video, frames = case.generate("balanced", num_inference_steps=2)
    assert "flash cannot leave out" in changes(video)["attention"].reason
    _, exact = case.generate("exact", num_inference_steps=2)
    assert (frames == exact).all()


@pytest.mark.usefixtures("without_masks")
def test_a_mask_of_prompt_and_video_together_is_not_given_to_what_misreads_it(tiny_pipeline: TinyPipeline) -> None:
    joint, apart = load(tiny_pipeline("hunyuan_video")), load(tiny_pipeline("skyreels_v2"))
    assert "cannot leave out" in str(attention.why_not("xformers", joint, device="cpu"))
    assert exchanged("xformers", apart) == {"attn1", "attn2"}
    apart.transformer.register_to_config(num_frame_per_block=2)
    assert exchanged("xformers", apart) == {"attn2"}, "a frame does not see all others then"


def test_attention_that_knows_one_program_is_given_no_other(tiny_pipeline: TinyPipeline) -> None:
    pipeline = load(tiny_pipeline("anyflow_far"))
    assert exchanged("math", pipeline) == {"attn2"}
    assert exchanged("flex", pipeline) == {"attn1", "attn2"}


def test_masks_that_a_program_would_take_another_way_round_are_not_given_to_it(tiny_pipeline: TinyPipeline) -> None:
    pipeline = load(tiny_pipeline("kandinsky6"))
    assert "cannot leave out" in str(attention.why_not("flex", pipeline, device="cpu"))
    assert attention.why_not("math", pipeline, device="cpu") is None


def test_a_program_that_takes_masks_computes_with_them(bench: Make) -> None:
    case = bench("hunyuan_video", attention="flex")
    video, frames = case.generate("balanced", num_inference_steps=2)
    assert video.applied["speed"] == {"quality": "balanced", "attention": "flex"}
    _, exact = case.generate("exact", num_inference_steps=2)
    assert abs(frames.astype(int) - exact).max() <= 2


def load(folder: Path) -> Any:
    """Return a pipeline that has nothing but its network."""
    _, class_name = json.loads((folder / "model_index.json").read_text())["transformer"]
    return SimpleNamespace(transformer=getattr(diffusers, class_name).from_pretrained(folder / "transformer"))


def exchanged(name: str, pipeline: Any) -> set[str]:
    """Return the names of the attentions that a program computes."""
    with attention.attending(name, pipeline):
        return {
            path.rpartition(".")[-1]
            for path, module in pipeline.transformer.named_modules()
            if isinstance(
                getattr(getattr(module, "processor", None), "_attention_backend", None),
                attention_dispatch.AttentionBackendName,
            )
        }
