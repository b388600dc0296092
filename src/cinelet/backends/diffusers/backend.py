"""`DiffusersBackend`: any diffusers video model from a directory, a Hub id or the package, in this process."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cinelet.backends.diffusers.capabilities import of_card, of_models
from cinelet.backends.diffusers.speed import SpeedSettings, choose_speed
from cinelet.clock import until_ended
from cinelet.domain.backend import Capabilities, Context, GeneratedVideo, Pulled
from cinelet.domain.condition import Condition, Device, LoadedModel
from cinelet.domain.errors import ModelUnsupportedError
from cinelet.domain.lora import Lora
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Stage
from cinelet.domain.request import Task, VideoRequest

if TYPE_CHECKING:
    from cinelet.backends.diffusers.lora_source import ChosenLora
    from cinelet.backends.diffusers.model_folder import ModelFolder
    from cinelet.backends.diffusers.plan import Model, Plan
    from cinelet.backends.diffusers.session import Outcome, Session
    from cinelet.backends.diffusers.tensors import Unread
    from cinelet.backends.diffusers.upscaling import Upscaler

MAX_WAITING = 64
"""Requests with a thread, of which one has the device; the others wait for a thread."""

_Result = TypeVar("_Result")


class DiffusersBackend:
    """Runs models on this machine, one run at a time.

    directories: folders of models with names of their own, as `embedded`. cache_dir: of the Hub's files, the Hub's own
    default if None. hf_token: for gated models. endpoint: of the Hub. device: torch's name, or None for the fastest.
    model_memory: most bytes that the weights of loaded models take; None for what is free, less a reserve.
    most_together: how many generations that are alike may be one run. speed: what may be given up for speed;
    `ValidationError` for what cannot be done here.
    """

    def __init__(
        self,
        *,
        directories: Mapping[str, Path] | None = None,
        cache_dir: Path | None = None,
        hf_token: str | None = None,
        endpoint: str | None = None,
        device: str | None = None,
        model_memory: int | None = None,
        most_together: int = 1,
        speed: SpeedSettings | None = None,
    ) -> None:
        self._speed = SpeedSettings() if speed is None else speed
        self._speed.check()
        self._directories = dict(directories or {})
        self._cache_dir = cache_dir
        self._hf_token = hf_token
        self._endpoint = endpoint
        self._device = device
        self._model_memory = model_memory
        self._most_together = most_together
        self._session: Session | None = None
        self._opening = threading.Lock()
        self._threads = ThreadPoolExecutor(MAX_WAITING, thread_name_prefix="diffusers")

    async def capabilities(self, model: ModelReference) -> Capabilities:
        """Read the model's files, without its weights; a Hub model's configuration is downloaded if need be."""
        if (known := await asyncio.to_thread(self._known, model)) is not None:
            return known
        return await self._start(_quietly, self._introspected, model)

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        """Make the video in a thread. Cancelling the awaiting task cancels the context and waits for the thread."""
        return await until_ended(self._start(self._generate, request, context), context)

    async def revision(self, model: ModelReference) -> str | None:
        """Name the state of the model's files: the commit of a Hub model, else a hash; None where there are none."""
        # Not in a thread of the generations: the answer must not wait for them.
        return self._speed.tagged(await asyncio.to_thread(self._revision, model))

    async def lora_revision(self, lora: Lora) -> str | None:
        """Name the state of a LoRA's file; None where it is not on this machine."""
        from cinelet.backends.diffusers import revision

        return await asyncio.to_thread(revision.of_lora, lora, cache_dir=self._cache_dir)

    async def pull(self, model: ModelReference, context: Context) -> Pulled:
        """Download what is missing of a Hub model; others are here as they are."""
        return await until_ended(self._start(_quietly, self._pull, model, context), context)

    async def load(self, model: ModelReference, context: Context) -> LoadedModel:
        """Load the model when its turn on the device has come. It goes when another needs its room."""
        return await until_ended(self._start(_quietly, self._load, model, context), context)

    async def unload(self, model: ModelReference) -> bool:
        """Forget the model, whether it was named with `local:` or without."""
        session = self._session
        names = {str(model)} if model.is_directory else {str(model), model.name, f"local:{model.name}"}
        return session is not None and await asyncio.to_thread(session.models.unload, *names)

    def condition(self) -> Condition:
        """Return what is loaded, and the device with its memory once torch has been loaded for a model."""
        session = self._session
        return Condition(Device(self._device)) if session is None else session.models.condition()

    async def aclose(self) -> None:
        """Wait for the running generation, then forget the loaded models."""
        # Where nothing was ever loaded, nothing is to be silenced, which would load it.
        await asyncio.get_running_loop().run_in_executor(self._threads, self._close)
        self._threads.shutdown(wait=False)

    def _start(self, work: Callable[..., _Result], *arguments: Any) -> asyncio.Future[_Result]:
        """Run blocking work in a thread of its own. The loop's own threads are few, and others need them."""
        variables = contextvars.copy_context()
        return asyncio.get_running_loop().run_in_executor(self._threads, lambda: variables.run(work, *arguments))

    def _close(self) -> None:
        with self._opening:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _revision(self, model: ModelReference) -> str | None:
        from cinelet.backends.diffusers import revision

        if model.name in self._directories and model.scheme == model.name:
            return revision.of_content(self._directories[model.name])
        if model.is_directory:
            return revision.of_files(Path(model.name))
        if model.scheme not in {"local", "hub"}:
            return None
        return revision.of_hub_model(model.name, cache_dir=self._cache_dir)

    def _known(self, reference: ModelReference) -> Capabilities | None:
        """Return what a model of the package can do, where its files alone say it."""
        from cinelet.backends.diffusers.devices import device_without_torch

        device = device_without_torch(self._device)
        if device is None or reference.name not in self._directories or reference.scheme != reference.name:
            return None
        return of_card(self._folder(reference, context=None, weights=False), reference, device=device)

    def _introspected(self, reference: ModelReference) -> Capabilities:
        from cinelet.backends.diffusers.arguments import pipeline_classes
        from cinelet.backends.diffusers.devices import choose_device
        from cinelet.backends.diffusers.families import family_of

        folder = self._folder(reference, context=None, weights=False)
        classes = pipeline_classes(folder, family_of(folder.class_name))
        models = {task: self._model(folder, classes, task) for task in classes}
        return of_models(models, reference, device=choose_device(self._device))

    def _pull(self, reference: ModelReference, context: Context) -> Pulled:
        folder = self._folder(reference, context=context, weights=True)
        news = context.latest
        came = news.steps if news is not None and news.stage is Stage.DOWNLOADING else 0
        return Pulled(str(reference), folder.path, came)

    def _load(self, reference: ModelReference, context: Context) -> LoadedModel:
        folder = self._folder(reference, context=context, weights=True)
        context.check()
        context.report(Stage.LOADING, 0.0, measured=False)
        return self._opened_session().load(folder, context)

    def _generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        from cinelet.backends.diffusers.quiet import quiet_libraries

        began = time.monotonic()
        with quiet_libraries():
            # To silence them is to import them, which the first time takes longer than to load a small model.
            return self._quietly_generated(request, context, imported_seconds=time.monotonic() - began)

    def _quietly_generated(self, request: VideoRequest, context: Context, *, imported_seconds: float) -> GeneratedVideo:
        reference = ModelReference.parse(request.model or "")
        context.check()
        if request.image is not None:
            from cinelet.media.image import open_image

            # Before anything is downloaded or loaded for an image that cannot be used.
            open_image(request.image)
        loras = self._loras(request, reference, context)
        folder = self._folder(reference, context=context, weights=True, task=request.task)
        context.check()
        began = time.monotonic()
        context.report(Stage.LOADING, 0.0, measured=False)
        from cinelet.backends.diffusers.arguments import check_task, pipeline_classes
        from cinelet.backends.diffusers.families import family_of
        from cinelet.backends.diffusers.plan import make_plan
        from cinelet.backends.diffusers.session import Job
        from cinelet.backends.diffusers.upscaling import FIRST_SHARE

        family = family_of(folder.class_name)
        classes = pipeline_classes(folder, family)
        check_task(request.task, classes, str(reference))
        upscaler = self._upscaler(request, context)
        smaller = upscaler.smaller(request) if upscaler else request
        plan = make_plan(smaller, self._model(folder, classes, request.task))
        session = self._opened_session()
        speed = choose_speed(
            self._speed,
            request.quality,
            device=session.models.device,
            steps=plan.steps,
            reference=str(reference),
            has_loras=bool(loras),
        )
        imported_seconds += time.monotonic() - began
        part = context.share(0.0, FIRST_SHARE) if upscaler else context
        weights = replace(folder, quantization=speed.quantization)
        outcome = session.run(Job(plan, weights, family, classes, part, speed, loras))
        if upscaler:
            plan = replace(plan, adjustments=tuple(change for change in plan.adjustments if change.parameter != "size"))
            outcome = upscaler.upscaled(request, plan, outcome, context.share(FIRST_SHARE, 1.0), session, speed=speed)
        return self._encoded(request, context, outcome, plan=plan, folder=folder, imported_seconds=imported_seconds)

    def _encoded(
        self,
        request: VideoRequest,
        context: Context,
        outcome: Outcome,
        *,
        plan: Plan,
        folder: ModelFolder,
        imported_seconds: float,
    ) -> GeneratedVideo:
        """Write the frames to a file, while the device is free for others."""
        from cinelet.backends.diffusers.progress import DECODED
        from cinelet.media.encode import container_suffix, encode
        from cinelet.media.timing import retime

        began = time.monotonic()
        frames, retimed = retime(outcome.frames, native_fps=plan.native_fps, fps=request.fps, duration=request.duration)
        path = context.folder / f"video{container_suffix(request.codec)}"

        def on_frame(count: int) -> None:
            context.check()
            fraction = DECODED + (1 - DECODED) * count / len(frames)
            context.report(Stage.ENCODING, fraction, step=count, steps=len(frames))

        encode(frames, path, fps=request.fps, codec=request.codec, preset=request.preset or "medium", on_frame=on_frame)
        return GeneratedVideo(
            path,
            model=folder.reference,
            seed=plan.seed,
            applied={**plan.applied, "frames_made": len(outcome.frames), **outcome.applied},
            adjustments=(*plan.adjustments, *outcome.adjustments, *retimed),
            timings={
                **outcome.timings,
                "loading": outcome.timings["loading"] + imported_seconds,
                "encoding": time.monotonic() - began,
            },
            revision=folder.revision,
        )

    def _loras(self, request: VideoRequest, reference: ModelReference, context: Context) -> Sequence[ChosenLora]:
        """Bring the LoRAs here, if the model takes any; that is known before its weights come."""
        from cinelet.backends.diffusers.lora_source import find_loras

        if not request.lora:
            return ()
        model = self._folder(reference, context=context, weights=False, task=request.task)
        place = {"token": self._hf_token, "endpoint": self._endpoint}
        return find_loras(request.lora, model, cache_dir=self._cache_dir, **place, context=context)

    def _opened_session(self) -> Session:
        from cinelet.backends.diffusers.model_cache import ModelCache
        from cinelet.backends.diffusers.session import Session

        with self._opening:
            if self._session is None:
                models = ModelCache(device=self._device, limit_bytes=self._model_memory)
                self._session = Session(models, most_together=self._most_together)
            return self._session

    def _folder(
        self, reference: ModelReference, *, context: Context | None, weights: bool, task: Task | None = None
    ) -> ModelFolder:
        """Find the model's files, downloading what is missing."""
        from cinelet.backends.diffusers.model_folder import open_folder

        if reference.name in self._directories and reference.scheme == reference.name:
            return open_folder(self._directories[reference.name], str(reference))
        if reference.is_directory:
            return open_folder(Path(reference.name).expanduser(), str(reference))
        if reference.scheme not in {"local", "hub"}:
            message = f"{reference} does not name a model that runs on this machine"
            raise ModelUnsupportedError(f"{message}; use local:org/name or local:./directory", str(reference))
        from cinelet.backends.diffusers import hub

        downloaded = hub.download(
            reference.name,
            cache_dir=self._cache_dir,
            token=self._hf_token,
            endpoint=self._endpoint,
            context=context,
            weights=weights,
            task=task,
            check_fits=self._check_fits if weights else None,
        )
        return open_folder(downloaded, str(reference))

    def _check_fits(self, repo_id: str, unread: Unread) -> None:
        """Refuse what can never be loaded before it is downloaded; the device is looked for only then."""
        self._opened_session().models.check_fits(repo_id, unread)

    def _upscaler(self, request: VideoRequest, context: Context) -> Upscaler | None:
        """Find the model that the request wants besides, and refuse one that cannot do it before any work is done."""
        if request.upscaler is None:
            return None
        from cinelet.backends.diffusers.upscaling import as_upscaler

        reference = ModelReference.parse(request.upscaler)
        folder = self._folder(reference, context=context, weights=True)
        return as_upscaler(folder, self._model)

    def _model(self, folder: ModelFolder, classes: dict[Task, type], task: Task) -> Model:
        from cinelet.backends.diffusers.arguments import arguments_of, true_guidance
        from cinelet.backends.diffusers.families import family_of
        from cinelet.backends.diffusers.grid import grid_of
        from cinelet.backends.diffusers.lora_source import takes_lora
        from cinelet.backends.diffusers.plan import Model

        family = family_of(folder.class_name)
        arguments = arguments_of(classes[task], guidance=true_guidance(folder, family))
        defaults = {name: arguments.default(name) for name in arguments.defaults}
        return Model(
            folder=folder,
            family=family,
            arguments=arguments,
            grid=grid_of(folder, family, defaults),
            has_guider="guider" in folder.components and arguments.guidance is None,
            takes_lora=takes_lora(classes[task], folder.components),
            can_continue=Task.IMAGE_TO_VIDEO in classes,
        )


def _quietly(work: Callable[..., _Result], *arguments: Any) -> _Result:
    from cinelet.backends.diffusers.quiet import quiet_libraries

    with quiet_libraries():
        return work(*arguments)
