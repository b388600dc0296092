"""A cinelet backend without a model: colours that flow into each other. The reference is `gradient:flow`."""

from __future__ import annotations

import asyncio
import secrets

import numpy as np

from cinelet import (
    Adjustment,
    Capabilities,
    Context,
    GeneratedVideo,
    ModelNotFoundError,
    ModelReference,
    ModelUnsupportedError,
    Stage,
    Task,
    VideoRequest,
)
from cinelet.media.encode import container_suffix, encode

__all__ = ["GradientBackend"]

SIZE = (128, 96)
HONOURED = frozenset({"prompt", "duration", "fps", "seed", "width", "height", "preset", "codec"})
IGNORED = ("negative_prompt", "guidance_scale", "num_inference_steps")


class GradientBackend:
    """Draws two colours, chosen by the seed, that flow into each other."""

    async def capabilities(self, model: ModelReference) -> Capabilities:
        """Say what is known without making anything."""
        if model.name != "flow":
            raise ModelNotFoundError(f"There is no model {model}; use gradient:flow")
        return Capabilities(
            model=str(model),
            tasks=frozenset({Task.TEXT_TO_VIDEO}),
            runs_on="this machine (cpu)",
            parameters=HONOURED,
            default_size=SIZE,
            description="Two colours that flow into each other; it reads no prompt.",
        )

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        """Work in a thread, so that the event loop stays free; whoever stops waiting stops the work."""
        model = ModelReference.parse(request.model or "")
        known = await self.capabilities(model)
        if request.task not in known.tasks:
            raise ModelUnsupportedError(f"{model} makes no video from an image; leave the image out", str(model))
        work = asyncio.ensure_future(asyncio.to_thread(self._generate, request, context))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            context.cancel()
            await asyncio.gather(work, return_exceptions=True)
            raise

    async def aclose(self) -> None:
        """There is nothing to give back."""

    def _generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        seed = secrets.randbelow(2**31) if request.seed is None else request.seed
        width, height = request.width or SIZE[0], request.height or SIZE[1]
        count = round(request.duration * request.fps)
        first, second = np.random.default_rng(seed).uniform(0, 1, (2, 3))
        place = np.linspace(0, np.pi, width)[None, :, None]
        frames = []
        for step in range(1, count + 1):
            context.check()  # raises when somebody cancels, or when the deadline is over
            share = 0.5 + 0.5 * np.sin(place + 2 * np.pi * step / count)
            frames.append(np.broadcast_to(share * first + (1 - share) * second, (height, width, 3)))
            context.report(Stage.DENOISING, 0.5 * step / count, step=step, steps=count)

        def on_frame(done: int) -> None:
            context.check()
            context.report(Stage.ENCODING, 0.5 + 0.5 * done / count, step=done, steps=count)

        path = context.folder / f"video{container_suffix(request.codec)}"
        encode(frames, path, fps=request.fps, codec=request.codec, preset=request.preset or "medium", on_frame=on_frame)
        return GeneratedVideo(
            path,
            model=str(request.model),
            seed=seed,
            applied={"seed": seed, "width": width, "height": height},
            adjustments=tuple(
                Adjustment(name, value, None, "a gradient has no such parameter")
                for name in IGNORED
                if (value := getattr(request, name)) is not None
            ),
        )
