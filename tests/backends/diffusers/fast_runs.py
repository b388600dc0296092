"""Runs of tiny models at a quality, and of the same models by plain diffusers, for the tests of speed."""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinelet.backends import embedded
from cinelet.backends.diffusers import DiffusersBackend, SpeedSettings
from cinelet.backends.diffusers.running import run
from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task, VideoRequest
from cinelet.domain.result import Adjustment

PROMPT = "a red circle moving left on a black background"
SMALL = {"width": 64, "height": 64, "fps": 8}
STEPS = 15
Frames = NDArray[np.uint8]


@dataclass
class Bench:
    """A backend whose frames are kept as they came from the model. model: its directory, or None for `embedded`."""

    folder: Path
    monkeypatch: Any
    model: Path | None
    settings: SpeedSettings = field(default_factory=SpeedSettings)
    frames: list[Frames] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.backend = DiffusersBackend(
            directories={"embedded": embedded.directory()}, device="cpu", speed=self.settings
        )
        self.monkeypatch.setattr("cinelet.backends.diffusers.running.run", self._run)

    def _run(self, *arguments: Any, **named: Any) -> Frames:
        frames = run(*arguments, **named)
        self.frames.append(frames)
        return frames

    def generate(
        self, quality: Any, on_progress: Callable[[Any], None] | None = None, **fields: Any
    ) -> tuple[GeneratedVideo, Frames]:
        """Make a video; return it and the model's own frames."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        request = VideoRequest(
            task=fields.pop("task", Task.TEXT_TO_VIDEO),
            prompt=PROMPT,
            model="embedded" if self.model is None else f"local:{self.model}",
            seed=3,
            quality=quality,
            **{"duration": 1, "num_inference_steps": STEPS, **({} if self.model is None else SMALL), **fields},
        )
        context = Context(folder, on_progress=on_progress)
        video = asyncio.run(self.backend.generate(request, context))
        return video, self.frames[-1]

    @property
    def pipeline(self) -> Any:
        """The pipeline that was used last."""
        session = self.backend._session
        assert session is not None
        return next(reversed(session.models._models.values())).pipeline

    def unload(self) -> None:
        """Have the model forgotten."""
        assert asyncio.run(self.backend.unload(ModelReference.parse(f"local:{self.model}")))

    def close(self) -> None:
        asyncio.run(self.backend.aclose())


def plain_frames(model: Path | None, applied: Mapping[str, Any]) -> Frames:
    """Return what diffusers alone makes of the arguments that a result reports."""
    import torch
    from diffusers import DiffusionPipeline

    folder = embedded.directory() if model is None else model
    pipeline: Any = DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    known = inspect.signature(pipeline.__call__).parameters
    arguments = {name: value for name, value in applied.items() if name in known and value is not None}
    arguments |= {"prompt": PROMPT, "num_frames": applied["frames_made"], "output_type": "np"}
    generator = torch.Generator("cpu").manual_seed(applied["seed"])
    frames = np.asarray(pipeline(**arguments, generator=generator).frames[0])
    rounded: Frames = np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8)
    return rounded


def changes(video: GeneratedVideo) -> dict[str, Adjustment]:
    """Return the adjustments by their parameter."""
    return {adjustment.parameter: adjustment for adjustment in video.adjustments}


def traces(pipeline: Any) -> list[str]:
    """List what a run may have left on a pipeline's modules: other ways to run, hooks of caches, choices."""
    found = []
    for name, component in pipeline.components.items():
        for path, module in getattr(component, "named_modules", list)():
            where = f"{name}.{path}"
            found += [f"{where}: forward"] if "forward" in vars(module) else []
            registry = getattr(module, "_diffusers_hook", None)
            found += [f"{where}: {hook}" for hook in (registry.hooks if registry is not None else ())]
            processor = getattr(module, "processor", None)
            found += [f"{where}: attention"] if getattr(processor, "_attention_backend", None) is not None else []
        found += [f"{name}: cache"] if getattr(component, "is_cache_enabled", False) else []
    return found
