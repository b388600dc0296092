"""One generation by several processes: the same frames, and nothing that a lost one could cost but time."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from diffusers.hooks import context_parallel as hooks
from diffusers.models import attention_dispatch
from diffusers.models._modeling_parallel import gather_size_by_comm

from cinelet.backends.diffusers import SpeedSettings, context_group
from cinelet.backends.diffusers.context_group import ContextGroup, devices_of
from cinelet.backends.diffusers.speed import choose_speed
from cinelet.domain.errors import GenerationCancelledError
from cinelet.domain.progress import Progress, Stage
from cinelet.domain.request import Task
from tests.backends.diffusers.fast_runs import Bench, changes, traces
from tests.conftest import TinyPipeline

SHARED = SpeedSettings(context_parallel=2)
STEPS = 3


@pytest.fixture
def benches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    opened: list[Bench] = []

    def bench(model: Path | None, settings: SpeedSettings = SHARED) -> Bench:
        opened.append(Bench(tmp_path, monkeypatch, model, settings))
        return opened[-1]

    yield bench
    for one in opened:
        one.close()
    assert ranks() == [], "the other processes end with the backend"


def ranks() -> list[psutil.Process]:
    """Return the other processes that share a model with this one."""
    own = psutil.Process().children()
    return [one for one in own if one.status() != psutil.STATUS_ZOMBIE and "context_rank" in " ".join(one.cmdline())]


@pytest.mark.parametrize("name", ["wan_t2v", "wan22_moe", "wan_i2v", "ltx", "chronoedit"])
def test_two_processes_make_the_frames_that_one_does(benches: Any, tiny_pipeline: TinyPipeline, name: str) -> None:
    model, fields = tiny_pipeline(name), {}
    if name in {"wan_i2v", "chronoedit"}:
        fields = {"task": Task.IMAGE_TO_VIDEO, "image": picture()}
    alone = benches(model, SpeedSettings()).generate("balanced", num_inference_steps=STEPS, **fields)
    bench = benches(model)
    shared = bench.generate("balanced", num_inference_steps=STEPS, **fields)
    assert shared[0].applied["speed"] == {"quality": "balanced", "context_parallel": 2}
    assert "context_parallel" not in changes(shared[0])
    assert np.abs(shared[1].astype(int) - alone[1]).max() <= 1
    assert shared[0].timings["loading"] > shared[0].timings["denoising"], "to begin is a part of loading"
    assert len(ranks()) == 1
    assert traces(bench.pipeline) == []
    exact = bench.generate("exact", num_inference_steps=STEPS, **fields)
    assert "context_parallel" not in exact[0].applied["speed"]
    assert np.array_equal(exact[1], alone[1])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """List what this process tells the others of the size of its parts."""
    sizes: list[int] = []

    def telling(size: int, group: Any) -> list[int]:
        sizes.append(size)
        everybodys: list[int] = gather_size_by_comm(size, group)
        return everybodys

    for module in (attention_dispatch, hooks):
        monkeypatch.setattr(module, "gather_size_by_comm", telling)
    return sizes


@pytest.mark.parametrize("name", ["wan_t2v", "ltx"])
def test_processes_whose_parts_are_as_large_do_not_tell_each_other(
    benches: Any, tiny_pipeline: TinyPipeline, told: list[int], name: str
) -> None:
    video, _ = benches(tiny_pipeline(name)).generate("balanced", num_inference_steps=STEPS)
    assert video.applied["speed"]["context_parallel"] == 2
    assert told == []


def test_heads_that_do_not_divide_evenly_make_the_same_frames(
    benches: Any, tiny_pipeline: TinyPipeline, told: list[int], tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_pipeline("wan_t2v"), tmp_path / "three-heads")
    config = WanTransformer3DModel.load_config(model / "transformer")
    torch.manual_seed(0)
    WanTransformer3DModel.from_config({**config, "num_attention_heads": 3}).save_pretrained(model / "transformer")
    alone = benches(model, SpeedSettings()).generate("balanced", num_inference_steps=STEPS)[1]
    video, frames = benches(model).generate("balanced", num_inference_steps=STEPS)
    assert video.applied["speed"]["context_parallel"] == 2
    assert np.abs(frames.astype(int) - alone).max() <= 1
    assert told


def test_a_number_of_tokens_that_processors_cannot_share_is_computed_by_one(
    benches: Any, tiny_pipeline: TinyPipeline, told: list[int]
) -> None:
    """gloo gathers parts of one size only, where NCCL gathers any."""
    fields = {"num_inference_steps": STEPS, "width": 48, "height": 48}
    alone = benches(tiny_pipeline("wan_t2v"), SpeedSettings()).generate("balanced", **fields)[1]
    video, frames = benches(tiny_pipeline("wan_t2v")).generate("balanced", **fields)
    assert told, "45 tokens"
    assert "context_parallel" in changes(video)
    assert np.array_equal(frames, alone)


def picture() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


def test_a_process_that_is_killed_in_the_midst_costs_a_second_try_and_no_frame(
    benches: Any, tiny_pipeline: TinyPipeline
) -> None:
    model = tiny_pipeline("wan_t2v")
    alone = benches(model, SpeedSettings()).generate("balanced", num_inference_steps=STEPS)[1]
    bench = benches(model)
    killed: list[int] = []

    def kill_once(progress: Progress) -> None:
        if progress.stage is Stage.DENOISING and progress.step == 1 and not killed:
            (rank,) = ranks()
            rank.kill()
            killed.append(rank.pid)

    video, frames = bench.generate("balanced", kill_once, num_inference_steps=STEPS)
    assert killed
    assert np.array_equal(frames, alone)
    change = changes(video)["context_parallel"]
    assert (change.requested, change.applied) == (2, None)
    assert "the model on cpu ended: exit code -9" in change.reason
    assert (ranks(), traces(bench.pipeline)) == ([], [])
    again, _ = bench.generate("balanced", num_inference_steps=STEPS)
    assert "context_parallel" in changes(again), "what was lost once is not tried for each video"
    assert ranks() == []


@pytest.mark.parametrize("decoded", [True, False])
def test_a_process_that_is_lost_after_its_last_call_costs_a_second_try_as_well(
    benches: Any, tiny_pipeline: TinyPipeline, monkeypatch: pytest.MonkeyPatch, *, decoded: bool
) -> None:
    """On a GPU what it had to compute in that call may not have been."""
    model = tiny_pipeline("wan_t2v")
    alone = benches(model, SpeedSettings()).generate("balanced", num_inference_steps=STEPS)[1]
    started: list[Any] = []
    start = context_group._started

    def starting(device: str) -> Any:
        started.append(start(device))
        return started[-1]

    monkeypatch.setattr(context_group, "_started", starting)
    bench = benches(model)

    def kill_at_the_end(progress: Progress) -> None:
        if progress.stage is Stage.DENOISING and progress.step == STEPS:
            started[0].process.kill()
            started[0].process.wait()
            if not decoded and not aborted:
                aborted.append(True)
                once.setattr(AutoencoderKLWan, "decode", abort)

    def abort(*_: Any, **__: Any) -> None:
        once.undo()
        raise RuntimeError("the collective was aborted")

    aborted: list[bool] = []
    once = pytest.MonkeyPatch()
    video, frames = bench.generate("balanced", kill_at_the_end, num_inference_steps=STEPS)
    assert len(started) == 1
    assert np.array_equal(frames, alone)
    assert "the model on cpu ended: exit code -9" in changes(video)["context_parallel"].reason
    assert "context_parallel" not in video.applied["speed"]
    assert (ranks(), traces(bench.pipeline)) == ([], [])


def test_a_cancelled_run_leaves_the_processes_ready_for_the_next(benches: Any, tiny_pipeline: TinyPipeline) -> None:
    bench = benches(tiny_pipeline("wan_t2v"))
    pids: list[int] = []

    def cancel(progress: Progress) -> None:
        if progress.stage is Stage.DENOISING and progress.step == 1:
            pids.extend(rank.pid for rank in ranks())
            raise GenerationCancelledError("enough")

    with pytest.raises(GenerationCancelledError):
        bench.generate("balanced", cancel, num_inference_steps=STEPS)
    assert traces(bench.pipeline) == []
    video, _ = bench.generate("balanced", num_inference_steps=STEPS)
    assert video.applied["speed"]["context_parallel"] == 2
    assert [rank.pid for rank in ranks()] == pids, "the same ones"
    bench.unload()
    assert ranks() == [], "they go with the model"


def test_an_error_in_the_midst_of_a_call_starts_the_processes_anew(
    benches: Any, tiny_pipeline: TinyPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a full memory is: the others wait in that call for one that has left it."""
    bench = benches(tiny_pipeline("wan_t2v"))
    bench.generate("balanced", num_inference_steps=STEPS)
    (first,) = ranks()
    block = bench.pipeline.transformer.blocks[-1]
    with monkeypatch.context() as patched:
        patched.setattr(type(block.ffn), "forward", _out_of_memory)
        with pytest.raises(Exception, match="memory is full"):
            bench.generate("balanced", num_inference_steps=STEPS)
    assert traces(bench.pipeline) == []
    video, _ = bench.generate("balanced", num_inference_steps=STEPS)
    assert video.applied["speed"]["context_parallel"] == 2
    (second,) = ranks()
    assert first.pid != second.pid


def _out_of_memory(*_: Any) -> None:
    raise MemoryError


def test_a_model_that_cannot_be_shared_runs_as_it_would_alone_and_says_why(
    benches: Any, tiny_pipeline: TinyPipeline
) -> None:
    bench = benches(tiny_pipeline("animatediff"), SpeedSettings(context_parallel=2, step_cache="guidance"))
    video, _ = bench.generate("balanced")
    assert "UNetMotionModel cannot be shared" in changes(video)["context_parallel"].reason
    assert video.applied["speed"] == {"quality": "balanced", "step_cache": "guidance"}
    assert ranks() == []


def test_what_one_device_could_have_besides_is_told(benches: Any, tiny_pipeline: TinyPipeline) -> None:
    bench = benches(tiny_pipeline("wan_t2v"), SpeedSettings(context_parallel=2, step_cache="taylorseer", compile="on"))
    video, _ = bench.generate("fast", num_inference_steps=STEPS)
    assert video.applied["speed"] == {"quality": "fast", "context_parallel": 2}
    assert {name: change.reason for name, change in changes(video).items() if name in {"compile", "step_cache"}} == {
        "compile": "2 devices share the run",
        "step_cache": "2 devices share the run",
    }


def test_loras_are_applied_on_one_device() -> None:
    speed = choose_speed(SHARED, "balanced", device="cuda", steps=20, reference="local:m", has_loras=True)
    assert speed.context_parallel == 1
    assert [(change.parameter, change.requested) for change in speed.declined] == [("context_parallel", 2)]


def test_a_device_that_is_not_there_is_named_and_nothing_waits_for_it(
    tiny_pipeline: TinyPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(tiny_pipeline("wan_t2v"))
    # Whoever waited for it would wait until the test is ended.
    monkeypatch.setattr(context_group, "START_SECONDS", 3600.0)
    group = ContextGroup(["cpu", "cuda:7"])
    why = group.why_not(pipeline)
    assert why is not None
    assert "the model on cuda:7 ended: " in why
    monkeypatch.setattr(group, "_start", pytest.fail)
    assert group.why_not(pipeline) == why, "it is not tried for each video"
    assert ranks() == []


def test_more_devices_than_heads_of_attention_are_refused(tiny_pipeline: TinyPipeline) -> None:
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(tiny_pipeline("wan_t2v"))
    assert "2 heads, and each device needs one" in str(ContextGroup(["cpu"] * 3).why_not(pipeline))


@pytest.mark.parametrize(
    ("first", "count", "devices"),
    [
        ("cuda", 2, ["cuda:0", "cuda:1"]),
        ("cuda:2", 2, ["cuda:2", "cuda:3"]),
        ("cpu", 3, ["cpu", "cpu", "cpu"]),
    ],
)
def test_the_next_devices_share(first: str, count: int, devices: list[str]) -> None:
    assert devices_of(first, count) == devices


HOLDS = """
import sys, time
from diffusers import DiffusionPipeline
from cinelet.backends.diffusers.context_group import ContextGroup
group = ContextGroup(["cpu", "cpu"])
assert group.why_not(DiffusionPipeline.from_pretrained(sys.argv[1])) is None
print(group._ranks[0].process.pid, flush=True)
time.sleep(600)
"""


def test_the_processes_end_with_a_worker_that_is_killed(tiny_pipeline: TinyPipeline) -> None:
    command = [sys.executable, "-c", HOLDS, str(tiny_pipeline("wan_t2v"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        rank = psutil.Process(int(worker.stdout.readline()))
        os.kill(worker.pid, signal.SIGKILL)
    rank.wait(10)
