"""How well the model does what it is told, measured by the oracle on prompts whose combinations were never trained on.

    python -m training.evaluate training/runs/1 --clips 138 --report training/runs/1/evaluation
    python -m training.evaluate src/cinelet/backends/embedded/weights --clips 138 --report training/results/evaluation

Takes a run's folder or exported weights; writes `REPORT.json` and contact sheets beside it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import LTXImageToVideoPipeline, LTXPipeline
from numpy.typing import NDArray
from PIL import Image

from training import oracle, vae, world
from training.export import GUIDANCE, STEPS, assemble

ASPECTS = ("color", "shape", "motion", "background")


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt with the scene it describes and the seed to use."""

    prompt: str
    scene: world.Scene
    seed: int


def cases(count: int, *, frames: int, seed: int = 2026) -> list[Case]:
    """Return `count` held-out cases: every held-out combination in turn, each time with another seed and wording."""
    rng = np.random.default_rng(seed)
    combinations = [c for c in world.combinations() if world.held_out(c)]
    rng.shuffle(combinations)
    found = []
    for index in range(count):
        combination = tuple(combinations[index % len(combinations)])
        scene = world.scene_of(rng, combination, frames)  # type: ignore[arg-type]
        prompt = world.caption(rng, scene)
        while not any(word in prompt.lower().split() or f"{word}," in prompt.lower() or f"{word}." in prompt.lower()
                      for word in world.BACKGROUND_WORDS[scene.background]):  # fmt: skip
            prompt = world.caption(rng, scene)
        found.append(Case(prompt, scene, 1000 * (index // len(combinations)) + index))
    return found


def load(source: Path) -> LTXPipeline:
    """Load a run or exported weights, in single precision."""
    if (source / "model_index.json").exists():
        return LTXPipeline.from_pretrained(source, dtype=torch.float32, use_safetensors=True)
    return assemble(source)


def generate(
    pipeline: LTXPipeline, batch: list[Case], *, frames: int, steps: int, guidance: float, images: bool
) -> NDArray[np.uint8]:
    """Make the clips of a batch; uint8 [batch, frames, 192, 192, 3]."""
    arguments: dict[str, Any] = {
        "prompt": [case.prompt for case in batch],
        "negative_prompt": [""] * len(batch),
        "height": vae.SIDE,
        "width": vae.SIDE,
        "num_frames": frames,
        "frame_rate": world.FPS,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "generator": [torch.Generator().manual_seed(case.seed) for case in batch],
        "output_type": "np",
    }
    if not images:
        return to_bytes(pipeline(**arguments).frames)
    other = LTXImageToVideoPipeline.from_pipe(pipeline)
    other.set_progress_bar_config(disable=True)
    clips = []
    for index, case in enumerate(batch):
        first = Image.fromarray(world.render(case.scene, 1, vae.SIDE)[0])
        one = {**arguments, "prompt": case.prompt, "negative_prompt": "", "generator": arguments["generator"][index]}
        clips.append(to_bytes(other(image=first, **one).frames)[0])
    return np.stack(clips)


def to_bytes(clips: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Round 0..1 to uint8."""
    rounded: NDArray[np.uint8] = np.rint(np.clip(clips, 0, 1) * 255).astype(np.uint8)
    return rounded


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    error = np.square(one.astype(np.float64) - other).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def contact_sheet(clips: list[NDArray[np.uint8]], path: Path, *, columns: int = 7, side: int = 96) -> None:
    """Write one row a clip, `columns` frames each."""
    rows = []
    for clip in clips:
        frames = clip[np.linspace(0, len(clip) - 1, columns).round().astype(int)]
        small = [np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.LANCZOS)) for frame in frames]
        rows.append(np.concatenate(small, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path, quality=88)


def evaluate(
    pipeline: LTXPipeline,
    selected: list[Case],
    *,
    frames: int,
    steps: int,
    guidance: float,
    images: bool,
    batch: int = 6,
) -> tuple[dict[str, Any], list[NDArray[np.uint8]], list[dict[str, Any]]]:
    """Return the figures, the clips and a line a clip."""
    pipeline.set_progress_bar_config(disable=True)
    right: Counter[str] = Counter()
    clips, lines, first_frames = [], [], []
    begin = time.monotonic()
    for start in range(0, len(selected), batch):
        part = selected[start : start + batch]
        for case, clip in zip(
            part, generate(pipeline, part, frames=frames, steps=steps, guidance=guidance, images=images), strict=True
        ):
            reading = oracle.read(clip)
            answers = {aspect: getattr(reading, aspect) for aspect in ASPECTS}
            correct = {aspect: answers[aspect] == getattr(case.scene, aspect) for aspect in ASPECTS}
            right.update(aspect for aspect in ASPECTS if correct[aspect])
            right["all"] += all(correct.values())
            right["clean"] += reading.clean > 0.98
            clips.append(clip)
            line = {"prompt": case.prompt, "seed": case.seed, "read": answers, "clean": round(reading.clean, 3)}
            if images:
                first_frames.append(psnr(clip[0], world.render(case.scene, 1, vae.SIDE)[0]))
                line["first_frame_psnr"] = round(first_frames[-1], 1)
            line["wrong"] = [aspect for aspect in ASPECTS if not correct[aspect]]
            lines.append(line)
    count = len(selected)
    figures = {name: round(right[name] / count, 3) for name in (*ASPECTS, "all", "clean")}
    figures |= {"clips": count, "seconds_each": round((time.monotonic() - begin) / count, 2)}
    if images:
        figures |= {"first_frame_psnr_mean": round(float(np.mean(first_frames)), 1),
                    "first_frame_psnr_min": round(min(first_frames), 1)}  # fmt: skip
    return figures, clips, lines


def main() -> None:
    """Read the command line, measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--clips", type=int, default=138)
    parser.add_argument("--images", type=int, default=46, help="image-to-video clips")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pipeline = load(arguments.source)
    report: dict[str, Any] = {"frames": arguments.frames, "steps": arguments.steps, "guidance": arguments.guidance}
    for name, count in (("text_to_video", arguments.clips), ("image_to_video", arguments.images)):
        if not count:
            continue
        figures, clips, lines = evaluate(
            pipeline, cases(count, frames=arguments.frames), frames=arguments.frames, steps=arguments.steps,
            guidance=arguments.guidance, images=name == "image_to_video",
        )  # fmt: skip
        print(name, figures, flush=True)
        report[name] = {"figures": figures, "clips": lines}
        if arguments.report:
            contact_sheet(clips[:14], arguments.report.with_name(f"{arguments.report.name}-{name}.jpg"))
    if arguments.report:
        arguments.report.parent.mkdir(parents=True, exist_ok=True)
        arguments.report.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
