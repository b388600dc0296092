"""How fast local models run at each quality, and what that costs in likeness. Sections of `benchmarks/local.py`."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.likeness import psnr, ssim

if TYPE_CHECKING:
    from benchmarks.report import Row

QUALITIES = ("exact", "balanced", "fast")
EVALUATED_CLIPS = 138
"""As in `training/`: each held-out combination of the embedded model's world three times."""
PROMPT = "a red circle moving left on a black background"
Clip = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SpeedCase:
    """A model and what is asked of it; fixture: None for the embedded model."""

    name: str
    fixture: str | None
    fields: Mapping[str, Any]


CASES = (
    SpeedCase("embedded", None, {"duration": 2, "fps": 8}),
    SpeedCase(
        "tiny Wan", "wan_t2v", {"duration": 2, "fps": 16, "width": 192, "height": 192, "num_inference_steps": 20}
    ),
    SpeedCase("tiny LTX", "ltx", {"duration": 2, "fps": 24, "width": 192, "height": 192, "num_inference_steps": 20}),
)


@dataclass(slots=True)
class Bench:
    """A backend whose frames are kept as the model made them, before any encoding."""

    reference: str
    folder: Path
    device: str = "cpu"
    frames: list[Clip] = field(default_factory=list)
    backend: Any = None

    def __enter__(self) -> Self:
        from cinelet.backends import embedded
        from cinelet.backends.diffusers import DiffusersBackend, running

        self.backend = DiffusersBackend(directories={"embedded": embedded.directory()}, device=self.device)
        plain = running.run

        def run(*arguments: Any, **named: Any) -> Clip:
            frames = plain(*arguments, **named)
            self.frames.append(frames)
            return frames

        running.run = run
        self._restore = lambda: setattr(running, "run", plain)
        return self

    _restore: Any = None

    def __exit__(self, *_: object) -> None:
        self._restore()
        asyncio.run(self.backend.aclose())

    def make(self, quality: str, **fields: Any) -> tuple[float, Any]:
        """Make a video; return its seconds and the backend's answer."""
        from cinelet import Context, Task, VideoRequest

        request = VideoRequest(
            **{"task": Task.TEXT_TO_VIDEO, "prompt": PROMPT, "model": self.reference, "seed": 7, **fields},
            quality=quality,
        )
        context = Context(Path(tempfile.mkdtemp(dir=self.folder)))
        began = time.perf_counter()
        video = asyncio.run(self.backend.generate(request, context))
        return time.perf_counter() - began, video


def quality(repeats: int) -> list[Row]:
    """Time each quality in turn on the same loaded model; likeness is that of the frames to those of `exact`.

    The embedded model's score is the share of held-out prompts (each combination three times) whose clip shows the
    colour, shape, motion and background that were asked for, as the oracle of `training/` reads them. A quality whose
    frames are those of `exact` has its score.
    """
    rows: list[Row] = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            rows += _quality_rows(case, Path(name), repeats)
    return rows


def _quality_rows(case: SpeedCase, folder: Path, repeats: int) -> list[Row]:
    reference = "embedded"
    if case.fixture is not None:
        from tests.tiny_pipelines import build

        build(case.fixture, folder / "model")
        reference = f"local:{folder / 'model'}"
    clips: dict[str, Clip] = {}
    used: dict[str, Any] = {}
    seconds: dict[str, list[float]] = {one: [] for one in QUALITIES}
    denoising: dict[str, list[float]] = {one: [] for one in QUALITIES}
    scores: dict[str, float] = {}
    with Bench(reference, folder) as bench:
        for number in range(repeats + 1):
            for one in QUALITIES if number % 2 else reversed(QUALITIES):
                took, video = bench.make(one, **case.fields)
                clips[one], used[one] = bench.frames[-1], video.applied["speed"]
                if number:  # the first is not warm
                    seconds[one].append(took)
                    denoising[one].append(video.timings["denoising"])
        for one in QUALITIES if case.fixture is None else ():
            same = one != "exact" and bool((clips[one] == clips["exact"]).all())
            scores[one] = scores["exact"] if same else _score(bench, one)
    return [
        {
            "model": case.name,
            "quality": one,
            "uses": ", ".join(f"{name} {value}" for name, value in used[one].items() if name != "quality") or "nothing",
            "s": statistics.median(seconds[one]),
            "speed-up": _times_as_fast(seconds, one),
            "of the steps": _times_as_fast(denoising, one),
            "PSNR dB": psnr(clips["exact"], clips[one]),
            "SSIM": ssim(clips["exact"], clips[one]),
            "score %": scores.get(one, ""),
        }
        for one in QUALITIES
    ]


def _times_as_fast(seconds: Mapping[str, list[float]], quality: str) -> float:
    """Return the median of the ratios of neighbours."""
    return statistics.median(exact / mine for exact, mine in zip(seconds["exact"], seconds[quality], strict=True))


def _score(bench: Bench, quality: str) -> float:
    """Return the share of evaluated prompts, in percent, whose clip shows all that was asked for."""
    from training import oracle
    from training.evaluate import ASPECTS, cases

    right = 0
    for case in cases(EVALUATED_CLIPS, frames=17):
        bench.make(quality, prompt=case.prompt, seed=case.seed, duration=2, fps=8)
        reading = oracle.read(bench.frames.pop())
        right += all(getattr(reading, aspect) == getattr(case.scene, aspect) for aspect in ASPECTS)
    return 100 * right / EVALUATED_CLIPS


def loaded(repeats: int) -> list[Row]:
    """Time the second request of a model that is loaded against a script that loads it for each video.

    The script has imported everything already: what remains is `from_pretrained`, `pipe(...)` and `export_to_video`.
    """
    rows: list[Row] = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows.append(_loaded_row(case, folder, repeats))
    return rows


def _loaded_row(case: SpeedCase, folder: Path, repeats: int) -> Row:
    from cinelet.backends import embedded

    directory = embedded.directory()
    if case.fixture is not None:
        from tests.tiny_pipelines import build

        directory = folder / "model"
        build(case.fixture, directory)
    reference = "embedded" if case.fixture is None else f"local:{directory}"
    mine, theirs = [], []
    with Bench(reference, folder) as bench:
        _, video = bench.make("exact", **case.fields)
        script = _script(directory, video.applied, folder, fps=case.fields["fps"])
        script()
        for number in range(repeats):
            for turn in (0, 1) if number % 2 else (1, 0):
                if turn:
                    mine.append(bench.make("exact", **case.fields)[0])
                else:
                    theirs.append(script())
    return {
        "model": case.name,
        "cinelet, loaded s": statistics.median(mine),
        "from_pretrained each time s": statistics.median(theirs),
        "times as fast": statistics.median(there / here for here, there in zip(mine, theirs, strict=True)),
    }


def _script(directory: Path, applied: Mapping[str, Any], folder: Path, *, fps: int) -> Callable[[], float]:
    import torch
    from diffusers import DiffusionPipeline
    from diffusers.utils import export_to_video

    from benchmarks.local import plain_arguments

    def run() -> float:
        began = time.perf_counter()
        pipeline: Any = DiffusionPipeline.from_pretrained(directory, dtype=torch.float32, use_safetensors=True)
        pipeline.set_progress_bar_config(disable=True)
        arguments = plain_arguments(pipeline, applied)
        frames = pipeline(**arguments, generator=torch.Generator("cpu").manual_seed(7)).frames[0]
        export_to_video(list(frames), str(folder / "plain.mp4"), fps=fps)
        return time.perf_counter() - began

    return run
