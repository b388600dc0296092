"""A backend without a model, for tests of what stands above backends."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cinelet.clock import Clock, SystemClock, until_ended
from cinelet.domain.backend import Capabilities, Context, GeneratedVideo
from cinelet.domain.condition import Condition
from cinelet.domain.errors import ModelNotFoundError, ModelUnsupportedError
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Stage
from cinelet.domain.request import POLICY_FIELDS, Task, VideoRequest
from cinelet.domain.result import Adjustment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_OPTIONAL_FIELDS = ("negative_prompt", "num_inference_steps", "guidance_scale", "seed", "width", "height")


class FakeBackend:
    """A backend without a model: it makes a small real video at once, and fails, waits or ignores as it is told.

    steps: denoising steps where the request names none. step_seconds: how long each takes, on `clock`. error: raised
    after `error_at_step` steps. ignores: names of parameters without effect. models: the references that exist; None
    for every one. `requests` holds what it was asked for, `closed` whether it was closed, `told` the condition that it
    says it is in.
    """

    def __init__(
        self,
        *,
        steps: int = 4,
        step_seconds: float = 0.0,
        error: BaseException | None = None,
        error_at_step: int = 0,
        ignores: Iterable[str] = (),
        tasks: Iterable[Task] = tuple(Task),
        models: Iterable[str] | None = None,
        size: tuple[int, int] = (64, 48),
        clock: Clock | None = None,
    ) -> None:
        self.steps = steps
        self.step_seconds = step_seconds
        self.error = error
        self.error_at_step = error_at_step
        self.ignores = frozenset(ignores)
        self.tasks = frozenset(tasks)
        self.models = None if models is None else frozenset(models)
        self.size = size
        self.clock: Clock = SystemClock() if clock is None else clock
        self.requests: list[VideoRequest] = []
        self.closed = False
        self.told = Condition()

    async def capabilities(self, model: ModelReference) -> Capabilities:
        """Say that every parameter counts but those in `ignores`."""
        self._require(model)
        return Capabilities(
            model=str(model),
            tasks=self.tasks,
            runs_on="this machine (fake)",
            parameters=frozenset(VideoRequest.model_fields) - self.ignores - POLICY_FIELDS,
            default_size=self.size,
            default_steps=self.steps,
            description="Moves a square; made for tests.",
        )

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        """Make the video in a thread; cancelling the awaiting task stops the thread before it returns."""
        self.requests.append(request)
        work = asyncio.ensure_future(asyncio.to_thread(self._generate, request, context))
        return await until_ended(work, context)

    def condition(self) -> Condition:
        """Say what it was told to."""
        return self.told

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def _require(self, model: ModelReference) -> None:
        if self.models is not None and str(model) not in self.models:
            raise ModelNotFoundError(f"There is no model {model}; this backend has {', '.join(sorted(self.models))}")

    def _generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        from cinelet.media.encode import container_suffix, encode

        model = ModelReference.parse(request.model or "")
        self._require(model)
        if request.task not in self.tasks:
            raise ModelUnsupportedError(f"{model} cannot do {request.task}; choose another model", str(model))
        asked = {name: value for name in _OPTIONAL_FIELDS if (value := getattr(request, name)) is not None}
        applied = {name: value for name, value in asked.items() if name not in self.ignores}
        applied.setdefault("seed", random.SystemRandom().randrange(2**31))
        applied.setdefault("num_inference_steps", self.steps)
        began = self.clock.monotonic()
        context.report(Stage.LOADING, 0.0)
        self._denoise(applied["num_inference_steps"], context)
        path = context.folder / f"video{container_suffix(request.codec)}"
        frames = _moving_square(request, applied, self.size)

        def on_frame(count: int) -> None:
            context.check()
            context.report(Stage.ENCODING, 0.9 + 0.1 * count / len(frames), step=count, steps=len(frames))

        encode(frames, path, fps=request.fps, codec=request.codec, preset=request.preset or "medium", on_frame=on_frame)
        return GeneratedVideo(
            path,
            model=str(model),
            seed=applied["seed"],
            applied=applied,
            adjustments=tuple(
                Adjustment(name, value, None, "the fake model does not use it")
                for name, value in asked.items()
                if name in self.ignores
            ),
            timings={"denoising": self.clock.monotonic() - began},
        )

    def _denoise(self, steps: int, context: Context) -> None:
        for step in range(1, steps + 1):
            context.check()
            if self.error is not None and step > self.error_at_step:
                raise self.error
            self.clock.pause(self.step_seconds, context=context)
            context.report(Stage.DENOISING, 0.9 * step / steps, step=step, steps=steps)
        context.check()


def _moving_square(request: VideoRequest, applied: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw a square that crosses the frame; its colours follow from all that was applied."""
    import numpy as np

    width, height = applied.get("width", size[0]), applied.get("height", size[1])
    identity = repr((request.prompt, hashlib.sha256(request.image or b"").hexdigest(), sorted(applied.items())))
    colours = np.frombuffer(hashlib.sha256(identity.encode()).digest()[:6], dtype=np.uint8).reshape(2, 3)
    count = round(request.duration * request.fps)
    frames = np.empty((count, height, width, 3), dtype=np.uint8)
    frames[:] = colours[0]
    side = max(2, min(width, height) // 3)
    for index in range(count):
        left = (width - side) * index // max(1, count - 1)
        frames[index, side : 2 * side, left : left + side] = colours[1]
    return frames
