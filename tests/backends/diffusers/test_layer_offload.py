"""Layers that are brought when they work: which stay, what is brought ahead, and the same video whichever it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cinelet.backends.diffusers import SpeedSettings, devices, layer_offload, model_cache, step_cache
from cinelet.backends.diffusers.acceleration import Acceleration
from cinelet.backends.diffusers.loading import load
from cinelet.backends.diffusers.model_folder import open_folder
from cinelet.backends.diffusers.placement import Offload, Placement
from cinelet.backends.diffusers.precision import Precision
from cinelet.backends.diffusers.quiet import quiet_libraries
from cinelet.backends.diffusers.speed import Speed
from tests.backends.diffusers.fast_runs import Bench, changes, traces
from tests.backends.diffusers.streamed import Traffic, stream_on_processor
from tests.conftest import TinyPipeline


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    return stream_on_processor(monkeypatch)


def loaded(folder: Path, offload: Offload) -> Any:
    placement = Placement(offload, tiled=True)
    with quiet_libraries():
        pipeline = load(
            open_folder(folder, "model"), device="cpu", precision=Precision("float32"), placement=placement, shared={}
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def frames_of(pipeline: Any) -> np.ndarray[Any, Any]:
    arguments = {"prompt": "a circle", "width": 64, "height": 64, "num_frames": 9, "num_inference_steps": 2}
    with quiet_libraries(), torch.inference_mode():
        return np.asarray(pipeline(**arguments, output_type="np", generator=torch.Generator().manual_seed(1)).frames)


@pytest.mark.parametrize("model", ["wan_t2v", "cogvideox"])
def test_group_offload_brings_layers_ahead_and_leaves_the_autoencoder_where_it_works(
    tiny_pipeline: TinyPipeline, traffic: Traffic, model: str
) -> None:
    plain = frames_of(loaded(tiny_pipeline(model), Offload.NONE))
    pipeline = loaded(tiny_pipeline(model), Offload.GROUP)
    for _ in range(2):
        assert (frames_of(pipeline) == plain).all()
        assert not layer_offload.is_followed(pipeline.transformer), "the order is known after one run"
    brought = set(traffic.brought)
    assert brought & set(pipeline.transformer.modules())
    assert brought & set(pipeline.text_encoder.modules())
    assert not brought & set(pipeline.vae.modules())
    assert not [trace for trace in traces(pipeline) if trace.startswith("vae.")]
    assert all(asked["use_stream"] and asked["record_stream"] for asked in traffic.asked)


def test_sequential_offload_brings_the_autoencoder_as_well(tiny_pipeline: TinyPipeline, traffic: Traffic) -> None:
    plain = frames_of(loaded(tiny_pipeline("wan_t2v"), Offload.NONE))
    pipeline = loaded(tiny_pipeline("wan_t2v"), Offload.SEQUENTIAL)
    assert (frames_of(pipeline) == plain).all()
    assert set(traffic.brought) & set(pipeline.vae.modules())
    assert not any(asked["use_stream"] or asked["record_stream"] for asked in traffic.asked)


@pytest.mark.parametrize("much", [True, False])
def test_layers_are_pinned_once_where_the_machine_has_room_for_it(
    tiny_pipeline: TinyPipeline, traffic: Traffic, monkeypatch: pytest.MonkeyPatch, *, much: bool
) -> None:
    pipeline = loaded(tiny_pipeline("wan_t2v"), Offload.NONE)
    parts = (pipeline.text_encoder, pipeline.transformer)
    tensors = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers()) if tensor.nbytes]
    blocks = sum(2 ** int(np.ceil(np.log2(tensor.nbytes))) for tensor in tensors)
    free = blocks + layer_offload.LEAST_RESERVE_BYTES
    monkeypatch.setattr(devices, "host_free_bytes", lambda: free if much else free - 1)
    loaded(tiny_pipeline("wan_t2v"), Offload.GROUP)
    assert {asked["low_cpu_mem_usage"] for asked in traffic.asked} == {not much}


def test_memory_that_was_pinned_is_given_back_with_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(devices, "give_back", lambda: given.append("memory"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "empty_host_cache", lambda: given.append("pinned"))
    layer_offload.give_back()
    assert given == ["memory", "pinned"], "what uses it must be gone before"


def test_what_diffusers_cannot_bring_by_layers_stays_whole(
    tiny_pipeline: TinyPipeline, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffusers.AutoencoderKLWan._supports_group_offloading", False)
    pipeline = loaded(tiny_pipeline("wan_t2v"), Offload.SEQUENTIAL)
    assert np.isfinite(frames_of(pipeline)).all()
    assert not set(traffic.brought) & set(pipeline.vae.modules())


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize(("model", "cache"), [("hunyuan_video", "auto"), ("cogvideox", "guidance")])
def test_a_step_cache_waits_until_the_order_of_the_layers_is_known(
    tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, cache: Any
) -> None:
    plain = Bench(tmp_path, monkeypatch, tiny_pipeline(model), SpeedSettings(step_cache=cache))
    _, exact = plain.generate("exact")
    _, fast = plain.generate("fast")
    plain.close()
    assert (fast != exact).any()
    monkeypatch.setattr(model_cache, "choose", lambda *_, **__: Placement(Offload.GROUP))
    monkeypatch.setattr(model_cache, "precisions", lambda *_: (Precision("float32"),))
    case = Bench(tmp_path, monkeypatch, tiny_pipeline(model), SpeedSettings(step_cache=cache))
    first, frames = case.generate("fast")
    assert first.applied["placement"] == "group offload, decoded in one piece"
    assert (frames == exact).all()
    assert first.applied["speed"] == {"quality": "fast"}
    changed = changes(first)
    assert "later ones can be faster" in changed["quality"].reason
    assert ("step_cache" in changed) == (cache != "auto")
    hooks = traces(case.pipeline)
    second, frames = case.generate("fast")
    assert (frames == fast).all()
    assert second.applied["speed"]["step_cache"] == ("taylorseer" if cache == "auto" else cache)
    assert "quality" not in changes(second)
    _, again = case.generate("exact")
    assert (again == exact).all()
    assert traces(case.pipeline) == hooks
    left = {hook.rpartition(": ")[2] for hook in hooks if hook.startswith("transformer.")}
    assert left == {"forward", "group_offloading"}
    case.close()


def test_all_runs_of_a_long_clip_go_without_the_step_cache_that_the_first_one_cannot_have(
    tiny_pipeline: TinyPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = loaded(tiny_pipeline("wan_t2v"), Offload.NONE)
    acceleration = Acceleration(Speed("fast", step_cache="auto"), device="cpu")
    for reason in ("the order is not known", None):
        monkeypatch.setattr(step_cache, "why_none", lambda _, reason=reason: reason)
        with acceleration.on(pipeline, {"num_inference_steps": 15}):
            assert not pipeline.transformer.is_cache_enabled
    assert acceleration.applied == {"quality": "fast"}
