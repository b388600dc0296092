"""Makes results without a model, and counts them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from cinelet.domain.backend import Context
from cinelet.domain.progress import Stage
from cinelet.domain.request import Task, VideoRequest
from cinelet.domain.result import Adjustment, Attempt, VideoFacts
from cinelet.domain.video import VideoResult


def a_request(**values: Any) -> VideoRequest:
    """Return a request whose model and preset are resolved."""
    fields: dict[str, Any] = {
        "task": Task.TEXT_TO_VIDEO,
        "prompt": "a red circle",
        "model": "embedded",
        "seed": 7,
        "preset": "medium",
    }
    return VideoRequest(**{**fields, **values})


def a_result(folder: Path, content: bytes, *, request: VideoRequest, **values: Any) -> VideoResult:
    """Write the content to `folder` and return the result that it would be."""
    path = folder / "made.mp4"
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    fields: dict[str, Any] = {
        "path": path,
        "request": request,
        "facts": VideoFacts(64, 48, Fraction(24000, 1001), 8, 1.5, "h264", "mp4", False, len(content), sha256),
        "model": request.model,
        "requested_model": request.model,
        "seed": request.seed,
        "applied": {"num_frames": 8, "prompt": request.prompt},
        "adjustments": (Adjustment("fps", 8, 24, "the model makes 24"),),
        "attempts": (Attempt(str(request.model), 1.25, provider="fal-ai", request_id="r1"),),
        "timings": {"denoising": 1.25},
        "generation_time": 2.5,
    }
    return VideoResult(**{**fields, **values})


class Maker:
    """Makes another video each time. size: bytes; values: what the results say. It waits while `gate` is closed."""

    def __init__(self, *, size: int = 1000, error: Exception | None = None, **values: Any) -> None:
        self.size = size
        self.error = error
        self.values = values
        self.made = 0
        self.begun = 0
        self.stopped = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.contexts: list[Context] = []
        self.on_begin: Callable[[Context], Any] = lambda _: None

    def of(self, request: VideoRequest):
        """Return what makes this request's video."""

        async def make(context: Context) -> VideoResult:
            self.begun += 1
            self.contexts.append(context)
            context.report(Stage.DENOISING, 0.5, step=1, steps=2)
            self.on_begin(context)
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.stopped += 1
                raise
            if self.error is not None:
                raise self.error
            self.made += 1
            content = f"video {self.made} of {request.seed}".encode().ljust(self.size, b".")
            return a_result(context.folder, content, request=request, **self.values)

        return make
