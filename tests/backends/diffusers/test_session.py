"""The device at work: several videos in one run, full memory, a device that is lost, and what a stop leaves behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cinelet.backends import embedded
from cinelet.backends.diffusers import DiffusersBackend, running
from cinelet.backends.diffusers.model_cache import ModelCache
from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.errors import CapacityError, DeviceLostError, GenerationCancelledError, ProcessingError
from cinelet.domain.progress import Progress, Stage
from cinelet.domain.request import Task, VideoRequest
from cinelet.testing import decoded_frames
from tests.conftest import TinyPipeline

TOGETHER = ("animatediff", "cogvideox", "hunyuan_video", "ltx", "mochi", "text_to_video_sd", "wan22_moe", "wan_t2v")
PROMPTS = ("a red circle", "a big blue square that moves right, and then a very small green triangle", "cat")


@pytest.fixture
def backend() -> Iterator[DiffusersBackend]:
    backend = DiffusersBackend(device="cpu", most_together=4)
    yield backend
    asyncio.run(backend.aclose())


def request(model: str, prompt: str = "a circle", **fields: Any) -> VideoRequest:
    small = {"width": 64, "height": 64, "duration": 1, "num_inference_steps": 2, "seed": 3, "negative_prompt": "blurry"}
    return VideoRequest(**{"task": Task.TEXT_TO_VIDEO, "model": model, "prompt": prompt, **small, **fields})


class Asked:
    """A generation in a thread of its own."""

    def __init__(self, backend: DiffusersBackend, folder: Path, asked: VideoRequest) -> None:
        folder.mkdir()
        self.seen: list[Progress] = []
        self.context = Context(folder, on_progress=self._saw)
        self.denoises = threading.Event()
        self.video: GeneratedVideo | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._generate, args=[backend, asked])
        self._thread.start()

    def _saw(self, progress: Progress) -> None:
        self.seen.append(progress)
        if progress.stage is Stage.DENOISING:
            self.denoises.set()

    def _generate(self, backend: DiffusersBackend, asked: VideoRequest) -> None:
        try:
            self.video = asyncio.run(backend.generate(asked, self.context))
        except Exception as error:  # noqa: BLE001  (told to whoever asked)
            self.error = error

    def wait(self) -> Asked:
        self._thread.join(120)
        assert not self._thread.is_alive()
        return self

    def made(self) -> GeneratedVideo:
        self.wait()
        if self.error is not None:
            raise self.error
        assert self.video is not None
        return self.video


class Busy:
    """The device, kept busy until `free`: whoever comes meanwhile waits."""

    def __init__(self, backend: DiffusersBackend) -> None:
        self._turns = backend._opened_session()._turns
        self._free = threading.Event()
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._turns.call, args=[self._keep])
        self._thread.start()
        assert self._began.wait(30)

    def _keep(self) -> None:
        self._began.set()
        assert self._free.wait(60)

    def free_when_waiting(self, count: int) -> None:
        with self._turns._changed:
            assert self._turns._changed.wait_for(lambda: len(self._turns._waiting) >= count, timeout=60)
        self._free.set()
        self._thread.join(30)


def made_together(backend: DiffusersBackend, folder: Path, asked: list[VideoRequest]) -> list[Asked]:
    """Ask for all of them while the device is busy."""
    busy = Busy(backend)
    all_of_them = [Asked(backend, folder / f"{number}", each) for number, each in enumerate(asked)]
    busy.free_when_waiting(len(asked))
    return all_of_them


@pytest.mark.parametrize("name", [*TOGETHER, "embedded"])
def test_each_of_several_in_one_run_gets_what_it_would_have_had_alone(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    floats: list[np.ndarray[Any, Any]] = []
    bytes_of = running._clip_of

    def noting(output: Any, pipeline: str) -> Any:
        floats.append(np.asarray(output).copy())
        return bytes_of(output, pipeline)

    monkeypatch.setattr(running, "_clip_of", noting)
    model = embedded.directory() if name == "embedded" else tiny_pipeline(name)
    size: dict[str, Any] = {"width": None, "height": None} if name == "embedded" else {}
    # With two steps, one of these seeds gives the random weights of tiny Wan a picture with vectors near zero, whose
    # direction its norms then take from rounding errors.
    size["num_inference_steps"] = 3
    asked = [request(f"local:{model}", prompt, seed=number, **size) for number, prompt in enumerate(PROMPTS)]
    alone = [Asked(backend, tmp_path / f"alone {number}", each).made() for number, each in enumerate(asked)]
    together = [each.made() for each in made_together(backend, tmp_path, asked)]
    assert [video.applied.get("together") for video in alone] == [None] * 3
    assert [video.applied.get("together") for video in together] == [3] * 3
    assert [video.seed for video in together] == [0, 1, 2]
    assert len(floats) == 6
    order = [int(np.argmin([np.abs(one - other).max() for other in floats[:3]])) for one in floats[3:]]
    assert sorted(order) == [0, 1, 2]
    for one, place in zip(floats[3:], order, strict=True):
        assert np.abs(np.clip(one, 0, 1) - np.clip(floats[place], 0, 1)).max() < 1e-3


@pytest.mark.parametrize(
    "other",
    [
        {"num_inference_steps": 3},
        {"width": 96},
        {"duration": 2},
        {"guidance_scale": 3.0},
        {"negative_prompt": None},
        {"quality": "exact"},
    ],
)
def test_what_differs_in_more_than_words_and_seed_runs_alone(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, other: dict[str, Any]
) -> None:
    model = f"local:{tiny_pipeline('wan_t2v')}"
    asked = made_together(backend, tmp_path, [request(model), request(model, **other)])
    assert [each.made().applied.get("together") for each in asked] == [None, None]


def test_a_family_whose_prompts_disturb_each_other_runs_alone(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path
) -> None:
    model = f"local:{tiny_pipeline('latte')}"
    asked = made_together(backend, tmp_path, [request(model), request(model, seed=4)])
    assert [each.made().applied.get("together") for each in asked] == [None, None]


def test_cancelling_one_of_a_run_does_not_disturb_the_others(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path
) -> None:
    model = f"local:{tiny_pipeline('wan_t2v')}"
    alone = decoded_frames(Asked(backend, tmp_path / "alone", request(model, num_inference_steps=30)).made().path)
    kept, left = made_together(
        backend, tmp_path, [request(model, num_inference_steps=30), request(model, seed=9, num_inference_steps=30)]
    )
    assert left.denoises.wait(60)
    left.context.cancel()
    assert isinstance(left.wait().error, GenerationCancelledError)
    video = kept.made()
    assert video.applied["together"] == 2
    assert np.abs(decoded_frames(video.path).astype(int) - alone).max() <= 3  # of the encoding


def full(times: int, stage: str = "denoising") -> Any:
    """Return a run that finds the memory full so many times."""
    run, left = running._call, [times]

    def call(*arguments: Any, **named: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise running.DeviceFullError("The device's memory is full", stage)
        return run(*arguments, **named)

    return call


def test_full_memory_is_tried_once_more_with_less_and_said(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_call", full(1, "decoding"))
    model = f"local:{tiny_pipeline('wan_t2v')}"
    video = Asked(backend, tmp_path / "first", request(model)).made()
    (change,) = [change for change in video.adjustments if change.parameter == "placement"]
    assert change.requested == "no offload, decoded in one piece"
    assert change.applied == video.applied["placement"] == "no offload, decoded in tiles"
    assert change.reason == "the memory of cpu was full while decoding"
    again = Asked(backend, tmp_path / "again", request(model)).made()
    assert again.applied["placement"] == "no offload, decoded in tiles", "it is not tried in vain again"


def test_memory_that_is_full_again_is_an_error(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_call", full(2))
    asked = Asked(backend, tmp_path / "video", request(f"local:{tiny_pipeline('wan_t2v')}"))
    assert isinstance(asked.wait().error, CapacityError)


def test_a_run_of_several_that_does_not_fit_is_made_one_by_one_and_smaller_ones_follow(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = f"local:{tiny_pipeline('wan_t2v')}"
    (tmp_path / "later").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(running, "_call", full(1))
        asked = made_together(backend, tmp_path, [request(model, seed=seed) for seed in range(3)])
        videos = [each.made() for each in asked]
    assert [video.applied.get("together") for video in videos] == [None] * 3
    assert not any(change.parameter == "placement" for video in videos for change in video.adjustments)
    later = made_together(backend, tmp_path / "later", [request(model, seed=seed) for seed in range(3)])
    assert sorted(each.made().applied.get("together", 1) for each in later) == [1, 2, 2]


def test_memory_allows_as_many_at_once_as_there_is_room_for(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelCache, "room", lambda _: 1)
    model = f"local:{tiny_pipeline('wan_t2v')}"
    backend._opened_session().models._limit_bytes = None
    asked = made_together(backend, tmp_path, [request(model), request(model, seed=4)])
    for each in asked:
        assert isinstance(each.wait().error, CapacityError), "not even one fits"


def test_a_device_that_is_lost_is_an_error_of_its_own(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any, **__: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    model = tiny_pipeline("wan_t2v")
    from diffusers import WanPipeline

    monkeypatch.setattr(WanPipeline, "encode_prompt", lost)
    wrong = Asked(backend, tmp_path / "wrong", request(f"local:{model}")).wait()
    assert isinstance(wrong.error, ProcessingError), "a call was wrong, and the device still answers"
    monkeypatch.setattr("cinelet.backends.diffusers.devices.answers", lambda _: False)
    asked = Asked(backend, tmp_path / "video", request(f"local:{model}")).wait()
    assert isinstance(asked.error, DeviceLostError)
    assert str(asked.error).startswith("The device answers no more (cpu: ")
    assert "unspecified launch failure" in str(asked.error)
    assert "\n" not in str(asked.error)


@pytest.mark.parametrize(
    ("place", "error"),
    [
        (
            "cinelet.backends.diffusers.model_cache.ModelCache.room",
            torch.AcceleratorError("CUDA error: launch failure"),
        ),
        ("diffusers.WanPipeline.encode_prompt", torch.OutOfMemoryError("CUDA error: out of memory")),
    ],
)
def test_whatever_a_lost_device_says_first_it_is_lost(  # noqa: PLR0917  (each row is one case)
    backend: DiffusersBackend,
    tiny_pipeline: TinyPipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    error: Exception,
) -> None:
    def lost(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(place, lost)
    monkeypatch.setattr("cinelet.backends.diffusers.devices.answers", lambda _: False)
    asked = Asked(backend, tmp_path / "video", request(f"local:{tiny_pipeline('wan_t2v')}")).wait()
    assert isinstance(asked.error, DeviceLostError)


def test_any_other_fault_is_told_and_the_next_one_runs(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = f"local:{tiny_pipeline('wan_t2v')}"
    with monkeypatch.context() as patch:
        patch.setattr(running, "_as", lambda *_: 1 / 0)
        assert isinstance(
            Asked(backend, tmp_path / "bad", request(model)).wait().error, (ProcessingError, ArithmeticError)
        )
    assert Asked(backend, tmp_path / "good", request(model)).made().path.is_file()


@pytest.mark.parametrize("how", ["cancelled", "failed", "made"])
def test_whatever_a_run_ends_with_its_tensors_are_gone(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    model = f"local:{tiny_pipeline('wan_t2v')}"
    Asked(backend, tmp_path / "first", request(model)).made()
    gc.collect()
    before = tensors()
    asked = Asked(backend, tmp_path / "video", request(model, num_inference_steps=20))
    if how == "cancelled":
        assert asked.denoises.wait(60)
        asked.context.cancel()
        assert isinstance(asked.wait().error, GenerationCancelledError)
    elif how == "failed":
        monkeypatch.setattr(running, "_clip_of", lambda *_: ProcessingError("It broke", "decoding"))
        assert isinstance(asked.wait().error, ProcessingError)
    else:
        asked.made()
    gc.collect()
    assert tensors() == before, "also while somebody keeps the error"


def tensors() -> int:
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def test_the_next_run_begins_while_the_last_one_is_still_encoded(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cinelet.media import encode

    encoding, may_go_on, write = threading.Event(), threading.Event(), encode.encode

    def slowly(*arguments: Any, **named: Any) -> Any:
        if not encoding.is_set():
            encoding.set()
            assert may_go_on.wait(60)
        return write(*arguments, **named)

    monkeypatch.setattr(encode, "encode", slowly)
    model = f"local:{tiny_pipeline('wan_t2v')}"
    first = Asked(backend, tmp_path / "first", request(model))
    assert encoding.wait(60)
    second = Asked(backend, tmp_path / "second", request(model)).made()
    assert second.path.is_file()
    may_go_on.set()
    first.made()
