"""A trial: what a tiny pipeline does when the backend runs it, as facts that the documents' table is made of."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cinelet.backends.diffusers import DiffusersBackend
from cinelet.domain.backend import Capabilities, Context, GeneratedVideo
from cinelet.domain.errors import GenerationCancelledError
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Progress, Stage
from cinelet.domain.request import Task
from cinelet.testing import ContractCase, decoded_frames

_FRAMES = {"num_frames", "chunk_partition", "video_length"}
"""Entries of a network's configuration that say how many frames it makes."""

STEPS = 2
SIDE = 64


@dataclass
class Trial:
    """One task of one model in a backend of its own; what takes long in a clip is its frames, so that there are few."""

    name: str
    task: Task
    model: Path
    folder: Path

    def __post_init__(self) -> None:
        slow = Path(shutil.copytree(self.model, self.folder / "model"))
        (slow / "cinelet.json").write_text('{"native_fps": 8}')
        self.backend = DiffusersBackend(device="cpu")
        self.case = ContractCase(
            f"local:{slow}", self.task, {"width": SIDE, "height": SIDE, "num_inference_steps": STEPS}
        )
        self._count = 0

    def close(self) -> None:
        asyncio.run(self.backend.aclose())

    def capabilities(self) -> Capabilities:
        return asyncio.run(self.backend.capabilities(ModelReference.parse(f"local:{self.model}")))

    def generate(self, context: Context | None = None, **fields: Any) -> GeneratedVideo:
        return asyncio.run(self.backend.generate(self.case.request(**fields), context or self.context()))

    def context(self, **settings: Any) -> Context:
        self._count += 1
        folder = self.folder / str(self._count)
        folder.mkdir(parents=True)
        return Context(folder, **settings)

    def frames(self, **fields: Any) -> np.ndarray[Any, Any]:
        return decoded_frames(self.generate(**fields).path)

    @property
    def pipeline(self) -> Any:
        """The loaded pipeline itself."""
        assert self.backend._session is not None
        (loaded,) = self.backend._session.models._models.values()
        return loaded.pipeline

    def steps(self) -> tuple[GeneratedVideo, list[Progress]]:
        """Make a video; return it and the steps that were told."""
        seen: list[Progress] = []
        video = self.generate(self.context(on_progress=seen.append), seed=1)
        return video, [progress for progress in seen if progress.stage is Stage.DENOISING and progress.step]

    def steps_after_a_cancel(self) -> int:
        """Cancel at the first step; return how many more were told."""
        after: list[Progress] = []

        def cancel(progress: Progress) -> None:
            if context.cancelled:
                after.append(progress)
            elif progress.stage is Stage.DENOISING and progress.step:
                context.cancel()

        context = self.context(on_progress=cancel)
        try:
            self.generate(context, seed=1)
        except GenerationCancelledError:
            return len(after)
        raise AssertionError("a cancelled generation went on to its end")


def other_picture() -> bytes:
    """Return a picture that nobody takes for the example."""
    buffer = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (250, 240, 10)).save(buffer, "PNG")
    return buffer.getvalue()


def findings(trial: Trial) -> dict[str, Any]:
    """Try everything that a row of the table tells."""
    video, steps = trial.steps()
    frames = decoded_frames(video.path)
    remaining = trial.steps_after_a_cancel()
    again = trial.frames(seed=1)
    pipeline = trial.pipeline
    found: dict[str, Any] = {
        "size": f"{frames.shape[2]}x{frames.shape[1]}",
        "frames": len(frames),
        "size_changed": [change.applied for change in video.adjustments if change.parameter == "size"],
        "few_sizes": any(change.reason.endswith("only") for change in video.adjustments if change.parameter == "size"),
        "steps": [steps[-1].step, steps[-1].steps],
        "steps_after_a_cancel": remaining,
        "repeats": bool(frames.shape == again.shape and (frames == again).all()),
        "seed_counts": _differ(frames, trial.frames(seed=2)),
        "left_on_the_pipeline": sorted({"progress_bar"} & set(vars(pipeline))),
        "sound_left_out": any(change.parameter == "sound" for change in video.adjustments),
    }
    if "prompt" in trial.capabilities().parameters:
        found["prompt_counts"] = _differ(frames, trial.frames(seed=1, prompt="ZEBRA & 99 ((loud)) trombones"))
    if trial.task is Task.IMAGE_TO_VIDEO:
        found["picture_counts"] = _differ(frames, trial.frames(seed=1, image=other_picture()))
    return found


def nature(trial: Trial) -> dict[str, Any]:
    """Tell what a pipeline is, beyond one task."""
    capabilities, pipeline = trial.capabilities(), trial.pipeline
    rule = capabilities.frame_rule
    assert rule is not None
    network = getattr(pipeline, "transformer", None) or pipeline.unet
    ancestors = {cls.__name__ for cls in inspect.getmro(type(network))}
    return {
        "class": json.loads((trial.model / "model_index.json").read_text())["_class_name"],
        "fps": capabilities.native_fps,
        "frames": [rule.multiple, rule.offset, rule.minimum, rule.maximum],
        "frames_configured": bool(_FRAMES & set(network.config)) or rule.minimum == rule.maximum,
        "multiple": capabilities.size_multiple,
        "steps": capabilities.default_steps,
        "guidance": "guidance_scale" in capabilities.parameters,
        "compiles": bool(getattr(network, "_repeated_blocks", None)),
        "caches": "CacheMixin" in ancestors,
        "lora": hasattr(pipeline, "load_lora_weights"),
    }


def _differ(some: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> bool:
    return some.shape != others.shape or bool((some != others).any())
