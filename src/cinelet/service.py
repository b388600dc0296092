"""VideoService: a request becomes a video whose facts were measured."""

from __future__ import annotations

import asyncio
import functools
import shutil
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cinelet.domain.backend import Backend, Capabilities, Context, GeneratedVideo, Pulled, loads_of
from cinelet.domain.condition import Condition, LoadedModel, condition_of
from cinelet.domain.deviation import deviations
from cinelet.domain.errors import (
    CineletError,
    FileSizeError,
    GenerationCancelledError,
    ProcessingError,
)
from cinelet.domain.lora import Lora
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Stage
from cinelet.domain.request import CacheMode, Limits, QualityPreset, Task, VideoRequest, make_request
from cinelet.domain.result import VideoFacts
from cinelet.domain.video import VideoResult
from cinelet.media.probe import Prober
from cinelet.observability import metrics
from cinelet.observability.logs import get_logger
from cinelet.observability.redaction import private, redact
from cinelet.observability.tracing import describe, span
from cinelet.resilience.attempts import collect_spoiled
from cinelet.resilience.billing import billed
from cinelet.resilience.prices import PriceTable
from cinelet.storage.work_folder import make_work_folder

if TYPE_CHECKING:
    from cinelet.storage.cache import VideoCache

PROBE_TIMEOUT_SECONDS = 120.0
_ELSEWHERE = frozenset({"hf", "endpoint", "openai"})
"""Schemes of models that never run on this machine."""

Probe = Callable[..., VideoFacts]
Revision = Callable[[ModelReference], Awaitable[str | None]]
LoraRevision = Callable[[Lora], Awaitable[str | None]]


class VideoService:
    """Makes videos with one backend, which may stand for many.

    default_models: the model of a task where a request names none. preset: the encoding where it names none.
    probe: measures a file (path, timeout_seconds); by default in a child process, which is kept.
    deadline_seconds: for a generation whose caller gives no context; None for no limit. cache: of finished videos.
    revision, lora_revision: name the state of a model and of a LoRA, as `Revises` and `RevisesLoras` do, so that a
    changed one is another one to the cache.
    loads: what brings models here and loads them, where that is not the backend itself. prices: of what is made.
    previews: whether pictures of a video are drawn while it is measured, where no other `probe` is given.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        default_models: Mapping[Task, str],
        limits: Limits | None = None,
        preset: QualityPreset = "medium",
        probe: Probe | None = None,
        deadline_seconds: float | None = None,
        cache: VideoCache | None = None,
        revision: Revision | None = None,
        lora_revision: LoraRevision | None = None,
        previews: bool = False,
        loads: object = None,
        prices: PriceTable | None = None,
    ) -> None:
        self.backend = backend
        self.default_models = dict(default_models)
        self.limits = Limits() if limits is None else limits
        self.preset = preset
        self.deadline_seconds = deadline_seconds
        self.cache = cache
        self.prices = prices or PriceTable()
        self._revision = revision or _no_revision
        self._lora_revision = lora_revision or _no_revision
        self._loads = backend if loads is None else loads
        self.logger = get_logger(__name__)
        self._prober = Prober(draws=previews)
        self._probe = self._prober.probe_and_draw if probe is None else _without_pictures(probe)

    async def generate_text_to_video(  # noqa: PLR0917  (the specification's signature)
        self,
        prompt: str,
        model: str | None = None,
        negative_prompt: str | None = None,
        duration: int = 6,
        fps: int = 8,
        num_inference_steps: int = 50,
        *,
        fallback: bool = True,
        cache: CacheMode = "use",
    ) -> dict[str, Any]:
        """Make a video from a text.

        Args:
            prompt: What the video shows, 1-1000 characters.
            model: Model reference; the configured default if None.
            negative_prompt: What to avoid.
            duration: Seconds, 1 to `MAX_VIDEO_DURATION`.
            fps: Frames a second, 1-60.
            num_inference_steps: Quality against time, 1-100.
            fallback: Whether another model may do it where this one fails; the result says which one did.
            cache: Whether a video that was made before may be the answer; `refresh` makes it anew, `off` keeps none.

        Returns:
            `video_bytes` and what was measured (`video_size`, `duration`, `fps`, `resolution`, ...).

        Raises:
            ValidationError: The input is invalid; `details` names each field.
            HuggingFaceAPIError: The model's host refused or failed.
            ProcessingError: The work failed after it began.
        """
        request = make_request(
            task=Task.TEXT_TO_VIDEO,
            prompt=prompt,
            model=model,
            negative_prompt=negative_prompt,
            duration=duration,
            fps=fps,
            num_inference_steps=num_inference_steps,
            fallback=fallback,
            cache=cache,
        )
        return await self._generate_dict(request)

    async def generate_image_to_video(  # noqa: PLR0917  (the specification's signature)
        self,
        image_data: bytes,
        model: str | None = None,
        prompt: str | None = None,
        duration: int = 6,
        fps: int = 8,
        num_inference_steps: int = 50,
        *,
        fallback: bool = True,
        cache: CacheMode = "use",
    ) -> dict[str, Any]:
        """Make a video that begins with an image.

        Args:
            image_data: A PNG, JPEG or WebP file, at most `MAX_IMAGE_SIZE` bytes.
            model: Model reference; the configured default if None.
            prompt: What happens in the video.
            duration: Seconds, 1 to `MAX_VIDEO_DURATION`.
            fps: Frames a second, 1-60.
            num_inference_steps: Quality against time, 1-100.
            fallback: Whether another model may do it where this one fails; the result says which one did.
            cache: Whether a video that was made before may be the answer; `refresh` makes it anew, `off` keeps none.

        Returns:
            `video_bytes` and what was measured (`video_size`, `duration`, `fps`, `resolution`, ...).

        Raises:
            ValidationError: The input is invalid; `details` names each field.
            FileSizeError: The image is too large.
            HuggingFaceAPIError: The model's host refused or failed.
            ProcessingError: The work failed after it began.
        """
        request = make_request(
            task=Task.IMAGE_TO_VIDEO,
            image=image_data,
            model=model,
            prompt=prompt,
            duration=duration,
            fps=fps,
            num_inference_steps=num_inference_steps,
            fallback=fallback,
            cache=cache,
        )
        return await self._generate_dict(request)

    async def generate(self, request: VideoRequest, context: Context | None = None) -> VideoResult:
        """Make the video of a request.

        context: where the file goes, who hears of progress, when to stop; its maker removes its folder. Without one
        the result owns a temporary folder. Cancelling the awaiting task cancels the context. Raises `CineletError`s
        only: what a backend raises beside them becomes a `ProcessingError` with the task as its stage.
        """
        asked = request.model_copy(update={"model": self.resolved(request).model})
        if context is not None:
            return await self._guarded(asked, context)
        folder = make_work_folder()
        try:
            return replace(
                await self._guarded(asked, Context(folder, deadline_seconds=self.deadline_seconds)), owned_folder=folder
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def resolved(self, request: VideoRequest) -> VideoRequest:
        """Return the request with the model and preset that it will have here, if it can be made at all.

        Raises `ValidationError` and `FileSizeError` as `generate` does.
        """
        request.check(self.limits)
        model = ModelReference.parse(self.default_models[request.task] if request.model is None else request.model)
        if model.scheme in _ELSEWHERE:
            request.refuse_local_fields(str(model))
        return request.model_copy(update={"model": str(model), "preset": request.preset or self.preset})

    async def cache_key(self, request: VideoRequest) -> str | None:
        """Return what a `resolved` request shares with those that make the same video; None where none is kept."""
        if request.seed is None or request.cache == "off" or await self._opened_cache() is None:
            return None
        from cinelet.storage.video_key import video_key_beside

        return await video_key_beside(request, revision=await self._state(request))

    async def _state(self, request: VideoRequest) -> str | None:
        """Name the state of all that makes the video: the model, and what is put beside it."""
        model = await self._revision(ModelReference.parse(str(request.model)))
        beside = [await self._lora_revision(lora) for lora in request.lora]
        if request.upscaler is not None:
            beside.append(await self._revision(ModelReference.parse(request.upscaler)))
        return repr((model, *beside)) if beside else model

    async def capabilities(self, model: str) -> Capabilities:
        """Say what a model can do here, without loading its weights."""
        return await self.backend.capabilities(ModelReference.parse(model))

    async def pull(self, model: str, context: Context | None = None) -> Pulled:
        """Bring the files of a model to this machine that are missing, and tell where they are and how much came.

        Raises `ModelUnsupportedError` for a model that runs elsewhere, and what a generation with it would raise.
        """
        reference = ModelReference.parse(model)
        return await loads_of(self._loads, reference).pull(reference, context or self._context())

    async def load(self, model: str, context: Context | None = None) -> LoadedModel:
        """Pull a model and load it in this process, until another needs its room. Raises the errors of `pull`."""
        reference = ModelReference.parse(model)
        return await loads_of(self._loads, reference).load(reference, context or self._context())

    async def unload(self, model: str) -> bool:
        """Forget a model that is loaded in this process; returns whether it was."""
        reference = ModelReference.parse(model)
        return await loads_of(self._loads, reference).unload(reference)

    def _context(self) -> Context:
        """Return the context of what makes no file."""
        return Context(Path(tempfile.gettempdir()))

    def condition(self) -> Condition:
        """Say what is loaded here and which hosts are left alone. Loads nothing; may be called from any thread."""
        return condition_of(self.backend)

    async def previews(self, path: Path) -> Mapping[str, bytes]:
        """Return the pictures of a video file by their names, as `domain/preview.py` has them.

        Raises `ProcessingError` where there can be none, so always where the service draws none.
        """
        _, drawn = await asyncio.to_thread(self._prober.probe_and_draw, path, timeout_seconds=PROBE_TIMEOUT_SECONDS)
        if drawn is None:
            raise ProcessingError("There can be no pictures of this video; the log says why", "probe")
        return drawn

    async def aclose(self) -> None:
        """Give back what the backend holds. The service is not used afterwards."""
        await asyncio.to_thread(self._prober.close)
        await self.backend.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def _guarded(self, request: VideoRequest, context: Context) -> VideoResult:
        """Run the generation; log it and turn foreign exceptions into ours, without the prompt."""
        facts = {"model": request.model, "task": str(request.task)}
        with private(request.prompt, request.negative_prompt), span("generate", model=request.model) as generating:
            self.logger.info("Generating a video", extra={**facts, "prompt_length": len(request.prompt or "")})
            try:
                result = billed(await self._run(request, context), self.prices)
                metrics.answered(result)
            except (asyncio.CancelledError, GenerationCancelledError):
                context.cancel()
                self.logger.info("The generation was cancelled", extra=facts)
                raise
            except CineletError as error:
                self.logger.warning("The generation failed", extra={**facts, "code": error.code, "reason": str(error)})
                raise
            except Exception as error:
                # The door to backends: theirs may be anybody's code, and callers are promised our errors only.
                self.logger.exception("The generation failed", extra=facts)
                why = redact(str(error)).strip() or type(error).__name__
                stage = request.task.replace("-", "_")
                raise ProcessingError(f"Failed to generate video: {why}", stage) from error
            self.logger.info(
                "Generated a video",
                extra={
                    **facts,
                    "video_size": result.facts.size,
                    "seconds": round(result.generation_time, 3),
                    "cache": result.cache,
                },
            )
            describe(generating, made_by=result.model, cache=result.cache, video_size=result.facts.size)
            return result

    async def _run(self, request: VideoRequest, context: Context) -> VideoResult:
        """Answer from the cache, or make the video."""
        context.check()
        work = self.resolved(request)
        cache = None if request.cache == "off" else await self._opened_cache()
        if cache is None:
            return replace(await self._made(work, context), request=request)
        answer = await cache.answer(
            work,
            context,
            lambda inner: self._made(work, inner),
            mode=request.cache,
            revision=functools.partial(self._state, request),
        )
        return replace(answer.result, request=request, cache=answer.how)

    async def _opened_cache(self) -> VideoCache | None:
        """Return the cache; a service that opens one when it is first asked does so here."""
        return self.cache

    async def _made(self, request: VideoRequest, context: Context) -> VideoResult:
        began = time.monotonic()
        self._prepare_probe()
        video = await self.backend.generate(request, context)
        try:
            facts, previews, probe_seconds = await self._measured(video, context)
        except BaseException as error:
            video.path.unlink(missing_ok=True)
            if isinstance(error, CineletError):
                collect_spoiled(video.attempts, error)
            raise
        context.report(Stage.STORING, 1.0)
        return VideoResult(
            path=video.path,
            request=request,
            facts=facts,
            model=video.model,
            requested_model=str(request.model),
            seed=video.seed,
            applied=video.applied,
            adjustments=(*video.adjustments, *deviations(request, video, facts)),
            attempts=video.attempts,
            timings={**video.timings, "probing": probe_seconds},
            generation_time=time.monotonic() - began,
            previews=previews,
        )

    async def _measured(
        self, video: GeneratedVideo, context: Context
    ) -> tuple[VideoFacts, Mapping[str, bytes] | None, float]:
        """Measure the file in a child process; returns the facts, pictures, and how long that took in seconds."""
        size = video.path.stat().st_size
        if size > self.limits.max_video_bytes:
            raise FileSizeError(size, self.limits.max_video_bytes, "video")
        began = time.monotonic()
        remaining = context.remaining_seconds()
        timeout = PROBE_TIMEOUT_SECONDS if remaining is None else min(PROBE_TIMEOUT_SECONDS, max(remaining, 1.0))
        with span("probe", video_size=size):
            facts, previews = await asyncio.to_thread(self._probe, video.path, timeout_seconds=timeout)
        context.check()
        return facts, previews, time.monotonic() - began

    def _prepare_probe(self) -> None:
        # In a thread that nobody waits for: the child starts while the model works.
        if not self._prober.prepared:
            threading.Thread(target=self._prober.prepare, name="cinelet-probe").start()

    async def _generate_dict(self, request: VideoRequest) -> dict[str, Any]:
        with await self.generate(request) as result:
            video_bytes = await asyncio.to_thread(result.read_bytes)
        known = result.to_dict()
        # The file is gone when the caller reads this, so its path is no fact worth telling.
        known.pop("path")
        return {"video_bytes": video_bytes, **known}


def _without_pictures(probe: Probe) -> Callable[..., tuple[VideoFacts, None]]:
    def probed(path: Path, *, timeout_seconds: float) -> tuple[VideoFacts, None]:
        return probe(path, timeout_seconds=timeout_seconds), None

    return probed


async def _no_revision(_: object) -> None:
    return None
