"""What cinelet costs on this machine, beside what one would write without it.

    python benchmarks/local.py [--repeats 7] [--only generation quality loaded encoding start large memory]

Prints Markdown tables and writes them with all numbers to `benchmarks/results/`, stamped with machine and commit.
Needs the extras `local`, `dev` and `benchmarks`.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from benchmarks.report import Row
    from cinelet import VideoResult, VideoService

ROOT = Path(__file__).parents[1]
ALLOWED_OVERHEAD_SECONDS = 0.05
ALLOWED_OVERHEAD_SHARE = 0.03


@dataclass(frozen=True, slots=True)
class Case:
    """A model and what is asked of it. fps: the model's own rate, so that no frame is repeated or left out."""

    name: str
    fixture: str | None
    fields: Mapping[str, Any]


CASES = (
    Case("embedded", None, {"duration": 2, "fps": 8}),
    Case("tiny Wan", "wan_t2v", {"duration": 1, "fps": 16, "width": 64, "height": 64, "num_inference_steps": 4}),
    Case("tiny LTX", "ltx", {"duration": 1, "fps": 24, "width": 64, "height": 64, "num_inference_steps": 4}),
    Case("Wan 1.3B shapes", "large", {"duration": 1, "fps": 16, "width": 96, "height": 96, "num_inference_steps": 2}),
)


def generation(repeats: int) -> list[Row]:
    """Time a whole generation (frames, encoding, probe) against `pipe(...)` and the fastest encoding by PyAV.

    Both run the same weights, arguments and seed in turn, the order changing each time. The overhead is the median of
    the differences of neighbours, because a machine's speed drifts more than the two differ.
    """
    rows = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            reference, directory = _model(case, folder)
            with asyncio.Runner() as runner:
                rows.append(_generation_row(case, reference, directory, folder, runner=runner, repeats=repeats))
    return rows


def _model(case: Case, folder: Path) -> tuple[str, Path]:
    """Return the reference and the directory of a case's model."""
    if case.fixture is None:
        from cinelet.backends import embedded

        return "embedded", embedded.directory()
    if case.fixture == "large":
        from benchmarks.local_large import large_wan

        large_wan().save_pretrained(folder / "model", safe_serialization=True)
    else:
        from tests.tiny_pipelines import build

        build(case.fixture, folder / "model")
    return f"local:{folder / 'model'}", folder / "model"


def _generation_row(
    case: Case, reference: str, directory: Path, folder: Path, *, runner: asyncio.Runner, repeats: int
) -> Row:
    from cinelet import VideoService

    service = VideoService()
    results: list[VideoResult] = []
    probes: list[float] = []

    def ours() -> float:
        began = time.perf_counter()
        result = runner.run(_generate(service, case, reference, folder))
        seconds = time.perf_counter() - began
        results.append(result)
        probes.append(result.timings["probing"])
        return seconds

    ours()
    plain = _plain_run(case, directory, results[0].applied, folder)
    plain()
    probes.clear()
    pairs = [_in_turn(ours, plain, swapped=bool(number % 2)) for number in range(repeats)]
    runner.run(service.aclose())
    ours_seconds, plain_seconds = (statistics.median(side) for side in zip(*pairs, strict=True))
    overhead = statistics.median(mine - theirs for mine, theirs in pairs)
    allowed = max(ALLOWED_OVERHEAD_SECONDS, ALLOWED_OVERHEAD_SHARE * plain_seconds)
    return {
        "model": case.name,
        "frames": results[0].applied["frames_made"],
        "plain s": plain_seconds,
        "cinelet s": ours_seconds,
        "overhead ms": 1000 * overhead,
        "of it the probe ms": 1000 * statistics.median(probes),
        "allowed ms": 1000 * allowed,
        "within": overhead <= allowed,
    }


async def _generate(service: VideoService, case: Case, reference: str, folder: Path) -> VideoResult:
    from cinelet import Context, Task, VideoRequest

    work = Path(tempfile.mkdtemp(dir=folder))
    request = VideoRequest(
        task=Task.TEXT_TO_VIDEO, prompt="a red circle moving left", model=reference, seed=7, cache="off", **case.fields
    )
    return await service.generate(request, Context(work))


def _plain_run(case: Case, directory: Path, applied: Mapping[str, Any], folder: Path) -> Callable[[], float]:
    """Return what one would write by hand, with the arguments that cinelet gave to the same model."""
    import torch
    from diffusers import DiffusionPipeline

    pipeline: Any = DiffusionPipeline.from_pretrained(directory, dtype=torch.float32, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    arguments = plain_arguments(pipeline, applied)

    def run() -> float:
        began = time.perf_counter()
        frames = pipeline(**arguments, generator=torch.Generator("cpu").manual_seed(applied["seed"])).frames[0]
        fastest_encoding(frames, folder / "plain.mp4", fps=case.fields["fps"])
        return time.perf_counter() - began

    return run


def plain_arguments(pipeline: Any, applied: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that cinelet gave to a pipeline of this class."""
    known = inspect.signature(type(pipeline).__call__).parameters
    arguments = {name: value for name, value in applied.items() if name in known and value is not None}
    return {
        **arguments,
        "prompt": "a red circle moving left",
        "num_frames": applied["frames_made"],
        "output_type": "np",
    }


def fastest_encoding(frames: NDArray[Any], path: Path, *, fps: int) -> None:
    """Encode float frames with PyAV and the fastest setting of x264, without further care."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "20"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray((frame * 255).round().astype(np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _in_turn(first: Callable[[], float], second: Callable[[], float], *, swapped: bool) -> tuple[float, float]:
    """Run both, the second one first if swapped; return (seconds of first, seconds of second)."""
    if swapped:
        seconds = second()
        return first(), seconds
    return first(), second()


def encoding(repeats: int) -> list[Row]:
    """Time our encoder against diffusers' `export_to_video`: seconds, bytes, and PSNR against the source frames."""
    from diffusers.utils import export_to_video

    from cinelet.media.encode import encode

    rows = []
    for shape in ((49, 480, 720), (121, 704, 1216)):
        frames = moving_scene(*shape)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            writers: dict[str, Callable[[], object]] = {
                "export_to_video": partial(export_to_video, frames, str(path), fps=24),
                "PyAV ultrafast": partial(fastest_encoding, frames, path, fps=24),
                "cinelet low": partial(encode, frames, path, fps=24, preset="low"),
                "cinelet medium": partial(encode, frames, path, fps=24, preset="medium"),
                "cinelet high": partial(encode, frames, path, fps=24, preset="high"),
                "cinelet medium, av1": partial(encode, frames, path, fps=24, codec="av1"),
            }
            seconds: dict[str, list[float]] = {name: [] for name in writers}
            facts: dict[str, Row] = {}
            for _, (name, write) in product(range(repeats), writers.items()):
                began = time.perf_counter()
                write()
                seconds[name].append(time.perf_counter() - began)
                facts[name] = {"kB": path.stat().st_size / 1000, "PSNR dB": psnr(frames, path)}
        clip = f"{shape[0]} x {shape[1]}x{shape[2]}"
        rows += [
            {"clip": clip, "encoder": name, "s": statistics.median(seconds[name]), **facts[name]} for name in facts
        ]
    return rows


def moving_scene(count: int, height: int, width: int) -> NDArray[np.float32]:
    """Draw a soft coloured ground that drifts, discs that cross it, and a little grain; floats [T, H, W, 3] in 0-1."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    grain = rng.normal(0, 0.01, (height, width, 1)).astype(np.float32)
    colours = rng.uniform(0, 1, (6, 3)).astype(np.float32)
    frames = np.empty((count, height, width, 3), np.float32)
    for number in range(count):
        time_share = number / count
        for channel in range(3):
            wave = np.sin(x / 90 + y / 70 * (channel + 1) + 6 * time_share)
            frames[number, :, :, channel] = 0.5 + 0.3 * wave
        for index, colour in enumerate(colours):
            centre_x = width * ((time_share * (1 + index % 3) / 2 + index / 6) % 1)
            centre_y = height * (0.2 + 0.12 * index)
            inside = (x - centre_x) ** 2 + (y - centre_y) ** 2 < (height / 12) ** 2
            frames[number][inside] = colour
        frames[number] += np.roll(grain, 17 * number, axis=1)
    return np.clip(frames, 0, 1, out=frames)


def psnr(frames: NDArray[np.float32], path: Path) -> float:
    """Return the peak signal-to-noise ratio of a file's pictures against the frames that it was made from, in dB."""
    import av

    errors = []
    with av.open(str(path)) as container:
        for frame, picture in zip(frames, container.decode(video=0), strict=True):
            decoded = picture.to_ndarray(format="rgb24").astype(np.float32) / 255
            errors.append(float(np.mean((decoded - frame) ** 2)))
    return float(-10 * np.log10(np.mean(errors)))


def start(repeats: int) -> list[Row]:
    """Time how long an interpreter, the import and the help take; the best of many, as nothing else is of interest."""
    commands: dict[str, Sequence[str]] = {
        "python -c pass": ["-c", "pass"],
        "import cinelet": ["-c", "import cinelet"],
        "cinelet --help": ["-m", "cinelet", "--help"],
        "cinelet generate --help": ["-m", "cinelet", "generate", "--help"],
        "from cinelet import VideoService": ["-c", "from cinelet import VideoService"],
    }
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        # As after an installation: compiled, wherever the machine forbids to write beside the sources.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for name, arguments in commands.items():
            seconds = []
            for _ in range(2 + 3 * repeats):
                began = time.perf_counter()
                subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
                seconds.append(time.perf_counter() - began)
            rows.append(
                {
                    "command": name,
                    "best ms": 1000 * min(seconds[2:]),
                    "median ms": 1000 * statistics.median(seconds[2:]),
                }
            )
    return rows


def quality(repeats: int) -> list[Row]:
    """Compare the qualities, as `benchmarks/local_speed.py` says."""
    from benchmarks import local_speed

    return local_speed.quality(repeats)


def loaded(repeats: int) -> list[Row]:
    """Compare a model that is loaded with a script that loads it each time, as `benchmarks/local_speed.py` says."""
    from benchmarks import local_speed

    return local_speed.loaded(repeats)


def large(repeats: int) -> list[Row]:
    """Compare the qualities of models of true size, as `benchmarks/local_large.py` says."""
    from benchmarks import local_large

    return local_large.large(repeats)


def memory(repeats: int) -> list[Row]:
    """Compare what a run needs beside the weights with the estimate, as `benchmarks/local_memory.py` says."""
    from benchmarks import local_memory

    return local_memory.memory(repeats)


SECTIONS: Mapping[str, Callable[[int], list[Row]]] = {
    "generation": generation,
    "quality": quality,
    "loaded": loaded,
    "encoding": encoding,
    "start": start,
    "large": large,
    "memory": memory,
}


def main() -> None:
    """Run the sections that were asked for, print and write what they found."""
    from benchmarks.report import publish

    parser = argparse.ArgumentParser(description="What cinelet costs on this machine.")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    publish(
        "local",
        {name: SECTIONS[name] for name in options.only},
        options.repeats,
        settings={"repeats": options.repeats},
        packages=("cinelet", "av", "diffusers", "numpy", "torch", "transformers"),
    )


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
