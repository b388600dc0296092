"""The synchronous door: one function for scripts, threads and notebooks, on one service for the process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import os
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from cinelet.assembly import VideoService
from cinelet.config import Config
from cinelet.domain.backend import Context
from cinelet.domain.errors import FileSizeError, ValidationError
from cinelet.domain.lora import Lora, parse_lora
from cinelet.domain.progress import Progress
from cinelet.domain.request import (
    CacheMode,
    Codec,
    ImageFit,
    Quality,
    QualityPreset,
    Strategy,
    Task,
    make_request,
)
from cinelet.domain.video import VideoResult
from cinelet.storage.work_folder import make_work_folder

_Lora = Lora | Mapping[str, Any] | str
_Result = TypeVar("_Result")


def generate(
    prompt: str | None = None,
    *,
    image: bytes | bytearray | memoryview | str | os.PathLike[str] | None = None,
    model: str | None = None,
    negative_prompt: str | None = None,
    duration: float = 6,
    fps: int = 8,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    seed: int | None = None,
    width: int | None = None,
    height: int | None = None,
    image_fit: ImageFit = "crop",
    preset: QualityPreset | None = None,
    codec: Codec = "h264",
    quality: Quality | None = None,
    lora: _Lora | Iterable[_Lora] | None = (),
    upscaler: str | None = None,
    fallback: bool = True,
    cache: CacheMode = "use",
    prefer: Strategy | None = None,
    max_cost: float | None = None,
    max_seconds: float | None = None,
    deadline_seconds: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> VideoResult:
    """Make a video and wait for it; works in scripts, in threads, in notebooks and inside a running event loop.

    prompt: what the video shows; optional with an image. image: a PNG, JPEG or WebP file, as bytes or by its path.
    `None` leaves a choice to the model. quality, lora (one or several, each with `path` and `scale`, or a text such as
    "org/name=0.8") and upscaler: of a local model.
    duration: seconds; width, height: pixels. fallback: whether another may do it where a remote one fails. cache: `use`
    answers with a video that was made before from the same seed, `refresh` makes it anew, `off` does not keep it.
    prefer, max_cost, max_seconds: how the models that can do it are ordered, and what one may be expected to cost and
    take. The model stays loaded for the next call, and the environment is read at the first. Ctrl-C stops the work
    within one step. Raises `CineletError`s.
    """
    request = make_request(
        task=Task.TEXT_TO_VIDEO if image is None else Task.IMAGE_TO_VIDEO,
        prompt=prompt,
        image=None if image is None else _content(image),
        model=model,
        negative_prompt=negative_prompt,
        duration=duration,
        fps=fps,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        seed=seed,
        width=width,
        height=height,
        image_fit=image_fit,
        preset=preset,
        codec=codec,
        quality=quality,
        lora=_loras(lora),
        upscaler=upscaler,
        fallback=fallback,
        cache=cache,
        prefer=prefer,
        max_cost=max_cost,
        max_seconds=max_seconds,
    )
    seconds = None if deadline_seconds is None else _seconds(deadline_seconds)
    service = _DOOR.service()
    folder = make_work_folder()
    previews = on_progress is not None and service.config.cinelet_previews
    seconds = service.deadline_seconds if seconds is None else seconds
    context = Context(folder, deadline_seconds=seconds, on_progress=on_progress, previews=previews)
    try:
        result = _DOOR.run(service.generate(request, context), cancel=context.cancel)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return replace(result, owned_folder=folder)


def _content(image: object) -> bytes:
    """Return the content of an image that was given as bytes or by its path."""
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, (str, os.PathLike)):
        return read_image(Path(os.fsdecode(image)))
    message = f"An image of the type {type(image).__name__} cannot be used; give the bytes of a file or its path"
    raise ValidationError(message, {"image": "Must be bytes or a path"})


def _loras(given: Any) -> tuple[Any, ...]:
    """Return what was given as one LoRA or as several, with texts read; the request refuses what is none."""
    several = isinstance(given, Iterable) and not isinstance(given, (str, Mapping, Lora))
    found = () if given is None else tuple(given) if several else (given,)
    return tuple(parse_lora(one) if isinstance(one, str) else one for one in found)


def _seconds(deadline: object) -> float:
    """Return a deadline as a number, or raise `ValidationError` that says what was given."""
    try:
        seconds = float(deadline)  # type: ignore[arg-type]  # anything, as it comes from outside
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds):
        message = f"deadline_seconds must be a number of seconds, not {deadline!r:.60}"
        raise ValidationError(message, {"deadline_seconds": "Must be a number"})
    return seconds


def read_image(path: Path) -> bytes:
    """Return the content of an image file, or raise `ValidationError` that names it, or `FileSizeError`.

    No more is read than an image may have: a path may lead to anything.
    """
    most = Config().limits.max_image_bytes
    try:
        with path.expanduser().open("rb") as file:
            content = file.read(most + 1)
            size = max(len(content), os.fstat(file.fileno()).st_size)
    except (OSError, RuntimeError, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or str(error).rstrip(".")
        message = f"The image {str(path)[:200]} cannot be read: {why}"
        raise ValidationError(message, {"image": "Cannot be read"}) from error
    if size > most:
        raise FileSizeError(size, most, "image")
    return content


class _SynchronousDoor:
    """One service for the process, in an event loop of its own thread, made at the first call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._service: VideoService | None = None

    def service(self) -> VideoService:
        """Return the service that all calls share."""
        with self._lock:
            if self._service is None:
                self._service = VideoService()
            return self._service

    def run(self, work: Coroutine[Any, Any, _Result], *, cancel: Callable[[], None]) -> _Result:
        """Run the work and wait. An interrupt of the waiting thread cancels it, and is raised when it has stopped."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="cinelet", daemon=True).start()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                cancel()
                concurrent.futures.wait([future])
            raise


_DOOR = _SynchronousDoor()
