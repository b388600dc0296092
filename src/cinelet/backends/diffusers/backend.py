"""`DiffusersBackend`: any diffusers video model from a directory, a Hub id or the package, in this process."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cinelet.clock import until_ended
from cinelet.domain.backend import Capabilities, Context, FrameRule, GeneratedVideo
from cinelet.domain.condition import Condition, Device
from cinelet.domain.errors import ModelUnsupportedError
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Stage
from cinelet.domain.request import POLICY_FIELDS, Task, VideoRequest
from cinelet.domain.result import Adjustment

if TYPE_CHECKING:
    from cinelet.backends.diffusers.loading import PipelineCache
    from cinelet.backends.diffusers.model_folder import ModelFolder
    from cinelet.backends.diffusers.plan import Model

MAX_WAITING = 64
"""Requests with a thread, of which one has the device; the others wait for a thread."""

_LOCK_POLL_SECONDS = 0.05
_Result = TypeVar("_Result")


class DiffusersBackend:
    """Runs models on this machine, one generation at a time.

    directories: folders of models with names of their own, as `embedded`. cache_dir: of the Hub's files, the Hub's own
    default if None. hf_token: for gated models. endpoint: of the Hub. device: torch's name, or None for the fastest.
    kept_models: how many loaded pipelines are kept.
    """

    def __init__(
        self,
        *,
        directories: Mapping[str, Path] | None = None,
        cache_dir: Path | None = None,
        hf_token: str | None = None,
        endpoint: str | None = None,
        device: str | None = None,
        kept_models: int = 1,
    ) -> None:
        self._directories = dict(directories or {})
        self._cache_dir = cache_dir
        self._hf_token = hf_token
        self._endpoint = endpoint
        self._device = device
        self._kept_models = kept_models
        self._pipelines: PipelineCache | None = None
        self._busy = threading.Lock()
        self._threads = ThreadPoolExecutor(MAX_WAITING, thread_name_prefix="diffusers")

    async def capabilities(self, model: ModelReference) -> Capabilities:
        """Read the model's files, without its weights; a Hub model's configuration is downloaded if need be."""
        if (known := await asyncio.to_thread(self._known, model)) is not None:
            return known
        return await self._start(self._introspected, model)

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        """Make the video in a thread. Cancelling the awaiting task cancels the context and waits for the thread."""
        work = self._start(self._generate, request, context)
        return await until_ended(work, context)

    async def revision(self, model: ModelReference) -> str | None:
        """Name the state of the model's files: the commit of a Hub model, else a hash; None where there are none."""
        from cinelet.backends.diffusers import revision

        # Not in a thread of the generations: the answer must not wait for them.
        if model.name in self._directories and model.scheme == model.name:
            return await asyncio.to_thread(revision.of_content, self._directories[model.name])
        if model.is_directory:
            return await asyncio.to_thread(revision.of_files, Path(model.name))
        if model.scheme not in {"local", "hub"}:
            return None
        return await asyncio.to_thread(revision.of_hub_model, model.name, cache_dir=self._cache_dir)

    def condition(self) -> Condition:
        """Return what is loaded, and the device with its memory once torch has been loaded for a model."""
        pipelines = self._pipelines
        return Condition(Device(self._device)) if pipelines is None else pipelines.condition()

    async def aclose(self) -> None:
        """Wait for the running generation, then forget the loaded models."""
        # Where nothing was ever loaded, nothing is to be silenced, which would load it.
        await asyncio.get_running_loop().run_in_executor(self._threads, self._close)
        self._threads.shutdown(wait=False)

    def _start(self, work: Callable[..., _Result], *arguments: Any) -> asyncio.Future[_Result]:
        """Run blocking work in a thread of its own. The loop's own threads are few, and others need them."""
        variables = contextvars.copy_context()
        return asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: variables.run(_quietly, work, *arguments)
        )

    def _close(self) -> None:
        with self._busy:
            if self._pipelines is not None:
                self._pipelines.clear()
                self._pipelines = None

    def _known(self, reference: ModelReference) -> Capabilities | None:
        """Return what a model of the package can do, where its files alone say it."""
        from cinelet.backends.diffusers.loading import device_without_torch

        device = device_without_torch(self._device)
        if device is None or reference.name not in self._directories or reference.scheme != reference.name:
            return None
        folder = self._folder(reference, context=None, weights=False)
        signature = folder.card.signature
        if signature is None:
            return None
        multiple, offset, minimum = signature.frames
        return Capabilities(
            model=str(reference),
            tasks=frozenset(signature.tasks),
            runs_on=_this_machine(device),
            parameters=frozenset(signature.parameters),
            native_fps=folder.card.native_fps,
            frame_rule=FrameRule(multiple, offset, minimum, folder.card.max_frames),
            size_multiple=signature.size_multiple,
            default_size=folder.card.default_size,
            default_steps=folder.card.default_steps,
            default_guidance=folder.card.default_guidance,
            **_of_card(folder),
        )

    def _introspected(self, reference: ModelReference) -> Capabilities:
        from cinelet.backends.diffusers.arguments import pipeline_classes
        from cinelet.backends.diffusers.families import family_of
        from cinelet.backends.diffusers.loading import choose_device

        folder = self._folder(reference, context=None, weights=False)
        classes = pipeline_classes(folder, family_of(folder.class_name))
        models = {task: self._model(folder, classes, task) for task in classes}
        first = next(iter(models.values()))
        steps = first.folder.card.default_steps or first.arguments.default("num_inference_steps")
        guidance = first.folder.card.default_guidance
        guider = _guider_scale(folder) if first.has_guider else None
        by_signature = guider or first.arguments.default(first.arguments.guidance or "")
        return Capabilities(
            model=str(reference),
            tasks=frozenset(classes),
            runs_on=_this_machine(choose_device(self._device)),
            parameters=frozenset().union(*(model.honoured() for model in models.values())) - POLICY_FIELDS,
            native_fps=first.native_fps,
            frame_rule=first.grid.frames,
            size_multiple=first.grid.multiple,
            default_size=first.grid.default_size,
            default_steps=steps,
            default_guidance=by_signature if guidance is None else guidance,
            **_of_card(folder),
        )

    def _generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        reference = ModelReference.parse(request.model or "")
        context.check()
        folder = self._folder(reference, context=context, weights=True, task=request.task)
        while not self._busy.acquire(timeout=_LOCK_POLL_SECONDS):
            context.check()
        try:
            return self._run(request, context, folder, reference)
        finally:
            self._busy.release()

    def _run(
        self, request: VideoRequest, context: Context, folder: ModelFolder, reference: ModelReference
    ) -> GeneratedVideo:
        # The libraries are part of it: the first time they take longer than a small model.
        began = time.monotonic()
        context.report(Stage.LOADING, 0.0, measured=False)
        from cinelet.backends.diffusers import running
        from cinelet.backends.diffusers.arguments import check_task, find_class, pipeline_classes
        from cinelet.backends.diffusers.families import family_of
        from cinelet.backends.diffusers.loading import PipelineCache
        from cinelet.backends.diffusers.plan import make_plan
        from cinelet.backends.diffusers.progress import DECODED, DENOISED, StepReporter
        from cinelet.media.encode import container_suffix, encode
        from cinelet.media.timing import retime

        family = family_of(folder.class_name)
        classes = pipeline_classes(folder, family)
        check_task(request.task, classes, str(reference))
        plan = make_plan(request, self._model(folder, classes, request.task))
        context.check()
        if self._pipelines is None:
            self._pipelines = PipelineCache(device=self._device, size=self._kept_models)
        pipeline = self._pipelines.get(folder)
        context.check()
        loaded = time.monotonic()
        reporter = StepReporter(context, runs=len(plan.windows))
        condition = find_class(family.condition_class, folder.reference) if family.condition_class else None
        adjustments = [*plan.adjustments, *_cut_prompt(pipeline, plan.arguments)]
        frames = running.run(plan, pipeline, classes, condition, reporter)
        context.report(Stage.DECODING, DENOISED, measured=False)
        frames, retimed = retime(frames, native_fps=plan.native_fps, fps=request.fps, duration=request.duration)
        adjustments += retimed
        encoding = time.monotonic()
        path = context.folder / f"video{container_suffix(request.codec)}"

        def on_frame(count: int) -> None:
            context.check()
            fraction = DECODED + (1 - DECODED) * count / len(frames)
            context.report(Stage.ENCODING, fraction, step=count, steps=len(frames))

        encode(frames, path, fps=request.fps, codec=request.codec, preset=request.preset or "medium", on_frame=on_frame)
        return GeneratedVideo(
            path,
            model=str(reference),
            seed=plan.seed,
            applied=plan.applied,
            adjustments=tuple(adjustments),
            timings={
                "loading": loaded - began,
                "denoising": reporter.denoising_seconds,
                "decoding": reporter.decoding_seconds,
                "encoding": time.monotonic() - encoding,
            },
            revision=folder.revision,
        )

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
        )
        return open_folder(downloaded, str(reference))

    def _model(self, folder: ModelFolder, classes: dict[Task, type], task: Task) -> Model:
        from cinelet.backends.diffusers.arguments import arguments_of
        from cinelet.backends.diffusers.families import family_of
        from cinelet.backends.diffusers.grid import grid_of
        from cinelet.backends.diffusers.plan import Model

        arguments = arguments_of(classes[task])
        family = family_of(folder.class_name)
        defaults = {name: arguments.default(name) for name in arguments.defaults}
        return Model(
            folder=folder,
            family=family,
            arguments=arguments,
            grid=grid_of(folder, family, defaults),
            has_guider="guider" in folder.components and arguments.guidance is None,
            can_continue=Task.IMAGE_TO_VIDEO in classes,
        )


def _quietly(work: Callable[..., _Result], *arguments: Any) -> _Result:
    from cinelet.backends.diffusers.quiet import quiet_libraries

    with quiet_libraries():
        return work(*arguments)


def _this_machine(device: str) -> str:
    return f"this machine ({device})"


def _of_card(folder: ModelFolder) -> dict[str, Any]:
    """Return what a model says of itself."""
    return {
        "license": folder.card.license,
        "description": folder.card.description or f"{folder.class_name} of diffusers",
        "vocabulary": folder.card.vocabulary,
        "examples": folder.card.examples,
    }


def _guider_scale(folder: ModelFolder) -> float | None:
    """Return the guidance that a guider component is configured with."""
    value = folder.config("guider").get("guidance_scale")
    return float(value) if isinstance(value, (int, float)) else None


def _cut_prompt(pipeline: Any, arguments: Mapping[str, Any]) -> list[Adjustment]:
    """Say so where a prompt is longer than what the model reads."""
    import inspect

    tokenizer = getattr(pipeline, "tokenizer", None)
    prompt = arguments.get("prompt")
    if tokenizer is None or not prompt:
        return []
    parameter = inspect.signature(type(pipeline).__call__).parameters.get("max_sequence_length")
    limit = parameter.default if parameter is not None else getattr(tokenizer, "model_max_length", None)
    if not isinstance(limit, int) or limit > 100_000:
        return []
    count = len(tokenizer(prompt).input_ids)
    if count <= limit:
        return []
    reason = f"the model reads the first {limit} tokens of a prompt, and this one has {count}; the rest is cut off"
    return [Adjustment("prompt", f"{count} tokens", f"{limit} tokens", reason)]
