"""Puts the parts together: settings in, a running service out. The only place that knows every part."""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib.util
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from cinelet.backends.registry import BackendRegistry
from cinelet.config import Config
from cinelet.domain.backend import Backend, Context
from cinelet.domain.errors import ModelUnsupportedError, ValidationError
from cinelet.domain.progress import Progress
from cinelet.domain.request import Codec, ImageFit, QualityPreset, Task
from cinelet.domain.video import VideoResult
from cinelet.service import FOLDER_PREFIX, make_request
from cinelet.service import VideoService as _VideoService

_LOCAL_PACKAGES = ("torch", "diffusers", "transformers")
_Result = TypeVar("_Result")


class VideoService(_VideoService):
    """The service as the environment configures it; every part can be given instead.

    config: the settings; read now if None. backend: what makes videos; by default every scheme that is installed.
    """

    def __init__(self, *, config: Config | None = None, backend: Backend | None = None) -> None:
        self.config = Config() if config is None else config
        super().__init__(
            make_registry(self.config) if backend is None else backend,
            default_models=self.config.default_models,
            limits=self.config.limits,
            preset=self.config.video_quality_preset,
        )


def make_registry(config: Config) -> BackendRegistry:
    """Return the backend for all schemes: this machine's models, and what plugins add. Nothing heavy is loaded."""

    def on_this_machine() -> Backend:
        return _diffusers_backend(config)

    return BackendRegistry(dict.fromkeys(("embedded", "local", "hub"), on_this_machine))


def _diffusers_backend(config: Config) -> Backend:
    missing = [name for name in _LOCAL_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        message = (
            f"Running models on this machine needs {', '.join(missing)}; install with: pip install 'cinelet[local]'"
        )
        raise ModelUnsupportedError(message, "local")
    from cinelet.backends import embedded
    from cinelet.backends.diffusers import DiffusersBackend

    return DiffusersBackend(
        directories={"embedded": embedded.directory()},
        cache_dir=config.hf_hub_cache,
        hf_token=config.hf_token.get_secret_value() if config.hf_token else None,
        endpoint=config.hf_endpoint,
        device=config.cinelet_device,
    )


def generate(
    prompt: str | None = None,
    *,
    image: bytes | str | os.PathLike[str] | None = None,
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
    deadline_seconds: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> VideoResult:
    """Make a video and wait for it; works in scripts, in threads, in notebooks and inside a running event loop.

    prompt: what the video shows; optional with an image. image: a PNG, JPEG or WebP file, as bytes or by its path.
    `None` leaves a choice to the model. duration: seconds; width, height: pixels. The model stays loaded for the next
    call, and the environment is read at the first. Ctrl-C stops the work within one step. Raises `CineletError`s.
    """
    request = make_request(
        task=Task.TEXT_TO_VIDEO if image is None else Task.IMAGE_TO_VIDEO,
        prompt=prompt,
        image=image if image is None or isinstance(image, bytes) else read_image(Path(image)),
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
    )
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    context = Context(folder, deadline_seconds=deadline_seconds, on_progress=on_progress)
    try:
        result = _DOOR.run(lambda service: service.generate(request, context), cancel=context.cancel)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return replace(result, owned_folder=folder)


def read_image(path: Path) -> bytes:
    """Return the content of an image file, or raise `ValidationError` that names it."""
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        message = f"The image {path} cannot be read: {error.strerror or error}"
        raise ValidationError(message, {"image": "Cannot be read"}) from error


class _SynchronousDoor:
    """One service for the process, in an event loop of its own thread, made at the first call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._service: _VideoService | None = None

    def run(
        self, work: Callable[[_VideoService], Coroutine[Any, Any, _Result]], *, cancel: Callable[[], None]
    ) -> _Result:
        """Run the work and wait. An interrupt of the waiting thread cancels it, and is raised when it has stopped."""
        with self._lock:
            if self._service is None:
                self._service = VideoService()
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="cinelet", daemon=True).start()
        future = asyncio.run_coroutine_threadsafe(work(self._service), self._loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                cancel()
                concurrent.futures.wait([future])
            raise


_DOOR = _SynchronousDoor()
