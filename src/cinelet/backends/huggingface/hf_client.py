"""The client that the specification names: two calls that return the bytes of a video."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self

from cinelet.domain.backend import Backend, Context
from cinelet.domain.request import Limits, Task, make_request
from cinelet.storage.work_folder import work_folder


class HuggingFaceClient:
    """Makes videos with a backend and returns their bytes; nothing stays on the disk.

    default_models: the model of a task where a call names none. deadline_seconds: for one call, None for no limit.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        default_models: Mapping[Task, str],
        limits: Limits | None = None,
        deadline_seconds: float | None = None,
    ) -> None:
        self.backend = backend
        self.default_models = dict(default_models)
        self.limits = Limits() if limits is None else limits
        self.deadline_seconds = deadline_seconds

    async def text_to_video(
        self,
        prompt: str,
        model: str | None = None,
        *,
        negative_prompt: str | None = None,
        duration: float = 6,
        fps: int = 8,
        num_inference_steps: int | None = 50,
        **more: Any,
    ) -> bytes:
        """Return a video of a text. more: other fields of `VideoRequest`, such as `seed`. Raises `CineletError`s."""
        return await self._video(
            task=Task.TEXT_TO_VIDEO,
            prompt=prompt,
            model=model,
            negative_prompt=negative_prompt,
            duration=duration,
            fps=fps,
            num_inference_steps=num_inference_steps,
            **more,
        )

    async def image_to_video(
        self,
        image: bytes,
        model: str | None = None,
        *,
        prompt: str | None = None,
        duration: float = 6,
        fps: int = 8,
        num_inference_steps: int | None = 50,
        **more: Any,
    ) -> bytes:
        """Return a video that begins with a PNG, JPEG or WebP image. more: as in `text_to_video`."""
        return await self._video(
            task=Task.IMAGE_TO_VIDEO,
            image=image,
            model=model,
            prompt=prompt,
            duration=duration,
            fps=fps,
            num_inference_steps=num_inference_steps,
            **more,
        )

    async def aclose(self) -> None:
        """Close the backend."""
        await self.backend.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def _video(self, *, task: Task, model: str | None, **values: Any) -> bytes:
        request = make_request(task=task, model=model or self.default_models[task], **values)
        request.check(self.limits)
        with work_folder() as folder:
            context = Context(folder, deadline_seconds=self.deadline_seconds)
            video = await self.backend.generate(request, context)
            return await asyncio.to_thread(video.path.read_bytes)
