"""The device at work: what is loaded there, whose turn it is, and what is done when its memory is full."""

from __future__ import annotations

import functools
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cinelet.backends.diffusers import devices, running
from cinelet.backends.diffusers.acceleration import Acceleration
from cinelet.backends.diffusers.arguments import find_class
from cinelet.backends.diffusers.context_group import ContextGroup, RankLostError, devices_of
from cinelet.backends.diffusers.families import Family
from cinelet.backends.diffusers.glimpses import Glimpses
from cinelet.backends.diffusers.lora import LoraShelf
from cinelet.backends.diffusers.lora_source import ChosenLora, applied_of
from cinelet.backends.diffusers.model_cache import Loaded, ModelCache
from cinelet.backends.diffusers.model_folder import ModelFolder
from cinelet.backends.diffusers.plan import Plan
from cinelet.backends.diffusers.precision import Precision
from cinelet.backends.diffusers.progress import DENOISED, StepReporter
from cinelet.backends.diffusers.prompt_length import cut_prompt
from cinelet.backends.diffusers.quiet import quiet_libraries
from cinelet.backends.diffusers.running import DeviceFullError
from cinelet.backends.diffusers.speed import Speed
from cinelet.backends.diffusers.turns import Turn, Turns, alive, check_company
from cinelet.backends.diffusers.working_memory import Working, working_of
from cinelet.domain.backend import Context
from cinelet.domain.condition import LoadedModel
from cinelet.domain.errors import CineletError
from cinelet.domain.progress import Stage
from cinelet.domain.request import Task
from cinelet.domain.result import Adjustment
from cinelet.observability.logs import get_logger

if TYPE_CHECKING:
    from numpy.typing import NDArray

_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A plan, the model that it is for, and who waits for it."""

    plan: Plan
    folder: ModelFolder
    family: Family
    classes: Mapping[Task, type]
    context: Context
    speed: Speed
    loras: Sequence[ChosenLora] = ()

    @property
    def alike(self) -> Hashable | None:
        """What it has in common with jobs that it may run with; None for one that runs alone."""
        plan = self.plan
        # Whether the first block has moved little would be found out for all videos of a run together.
        by_content = self.speed.step_cache == "first-block"
        alone = self.speed.quality == "exact" or by_content or not self.family.batches or len(plan.windows) > 1
        alone = alone or not plan.frame_argument
        if alone or plan.image is not None or "prompt" not in plan.arguments:
            return None
        same = {name: value for name, value in plan.arguments.items() if name not in running.TEXTS}
        texts = tuple(name for name in running.TEXTS if name in plan.arguments)
        return (
            str(self.folder.path), self.folder.revision, plan.task, plan.windows[0].frames, plan.guider_guidance,
            self.speed, texts, repr(sorted(same.items())),
            repr(applied_of(self.loras)),
        )  # fmt: skip

    def working(self, precision: Precision) -> Working:
        """Estimate what its run needs beside the weights of the model: its own, and those of its LoRAs."""
        frames = max(window.frames for window in self.plan.windows)
        own = working_of(
            self.folder,
            size=self.plan.size,
            frames=frames,
            float_bytes=precision.float_bytes,
            decoder_bytes=precision.bytes_of("vae"),
        )
        return own.beside(sum(file.tensor_bytes for _, file in self.loras))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gave one of its jobs. frames: [frames, height, width, 3]. timings: seconds by stage."""

    frames: NDArray[Any]
    timings: Mapping[str, float]
    applied: Mapping[str, Any]
    adjustments: tuple[Adjustment, ...]


class Session:
    """Runs jobs on one device, one run at a time. most_together: how many jobs may be one run."""

    def __init__(self, models: ModelCache, *, most_together: int) -> None:
        self.models = models
        self._group: ContextGroup | None = None
        self._loras = LoraShelf()
        self._glimpses = Glimpses()
        self._turns: Turns[Job, Outcome] = Turns(self._run, most=most_together)
        self._too_many: dict[Hashable, int] = {}
        """How many of a kind the memory did not hold."""

    def run(self, job: Job) -> Outcome:
        """Wait for the device and run the job on it. Blocks; raises `CineletError`s."""
        return self._turns.take(job, check=job.context.check, alike=job.alike)

    def load(self, folder: ModelFolder, context: Context) -> LoadedModel:
        """Load a model, or note that it was used, when nothing runs. Blocks; raises `CineletError`s."""

        def loaded() -> LoadedModel:
            with quiet_libraries(), devices.at_work(self.models.device), self.models.lease(folder) as model:
                return self.models.facts_of(model)

        return self._turns.call(loaded, check=context.check)

    def close(self) -> None:
        """Wait for what runs, and forget the models."""
        self._turns.call(self.models.clear)
        if self._group is not None:
            self._group.close()
        self._turns.close()

    def _run(self, turn: Turn[Job, Outcome]) -> None:
        with quiet_libraries(), devices.at_work(self.models.device):
            try:
                lowered = self._attempt(turn)
            except RankLostError:
                lowered = self._attempt(turn)  # which is not shared any more
            if lowered is not None:
                self._attempt(turn, lowered)

    def _attempt(self, turn: Turn[Job, Outcome], lowered: Adjustment | None = None) -> Adjustment | None:
        """Run a turn and those that go with it.

        Where the memory is full, and the model can be placed so that it needs less, returns what was changed: it is to
        be tried once more.
        """
        job = turn.work
        check_company(turn.company)
        began = time.monotonic()
        with self.models.lease(job.folder, job.working) as loaded:
            group = self._group_of(job)
            if group is not None:
                group.why_not(loaded.pipeline)  # the others begin now, as a part of loading
            loading_seconds = time.monotonic() - began
            others = self._turns.others(turn, most=self._most(loaded, job))
            turns = [one for one in (turn, *others) if not one.ended]
            adjustments = (lowered,) if lowered else ()
            try:
                self._run_together(loaded, turns, adjustments, loading_seconds=loading_seconds)
            except DeviceFullError as error:
                _logger.warning("The memory of a device was full", extra={"model": job.folder.reference})
                devices.give_back()
                if len(turns) > 1:
                    self._too_many[job.alike] = len(turns)
                    for each in alive(turns):
                        self._run_together(loaded, [each], adjustments, loading_seconds=0.0)
                    return None
                before, below = loaded.placement, self.models.step_down(loaded)
                if below is None or lowered:
                    raise
                reason = f"the memory of {self.models.device} was full while {error.stage}"
                return Adjustment("placement", before.words, below.words, reason)
        return None

    def _group_of(self, job: Job) -> ContextGroup | None:
        """Return the devices that share its runs, if several are to."""
        if job.speed.context_parallel == 1:
            return None
        if self._group is None:
            self._group = ContextGroup(devices_of(self.models.device, job.speed.context_parallel))
            self.models.on_drop = self._group.forget
        return self._group

    def _most(self, loaded: Loaded, job: Job) -> int:
        """Return how many jobs like this one fit beside the weights, by measurement where there is one."""
        needed = job.working(loaded.precision)
        each = loaded.peaks.get(job.alike) or max(
            needed.denoise, needed.decode_tiled if loaded.placement.tiled else needed.decode
        )
        fitting = self.models.room() // max(1, each)
        return max(1, min(fitting, self._too_many.get(job.alike, self._turns.most + 1) - 1))

    def _run_together(
        self,
        loaded: Loaded,
        turns: Sequence[Turn[Job, Outcome]],
        adjustments: tuple[Adjustment, ...],
        *,
        loading_seconds: float,
    ) -> None:
        job = turns[0].work
        reporter = StepReporter(_Company(turns), runs=len(job.plan.windows))
        family = job.family
        condition = find_class(family.condition_class, job.folder.reference) if family.condition_class else None
        plans = [turn.work.plan for turn in turns]
        acceleration = Acceleration(job.speed, device=self.models.device, videos=len(turns), group=self._group_of(job))
        contexts = [turn.work.context for turn in turns]
        reporter.settle = functools.partial(devices.synchronize, self.models.device)
        reporter.observe = self._glimpses.observer(loaded.pipeline, contexts, size=job.plan.size)
        with self._loras.applied(loaded.pipeline, job.loras) as told, devices.peak_of(self.models.device) as peak:
            clips: Sequence[running.Clip | CineletError] = (
                running.run_together(plans, loaded.pipeline, job.classes, reporter, acceleration=acceleration)
                if len(plans) > 1
                else [
                    running.run(job.plan, loaded.pipeline, job.classes, condition, reporter, acceleration=acceleration)
                ]
            )
        if peak.bytes is not None:
            loaded.peaks[job.alike] = max(loaded.peaks.get(job.alike, 0), peak.bytes // len(turns))
        reporter.context.report(Stage.DECODING, DENOISED, measured=False)
        adjustments = (*adjustments, *told)
        applied: dict[str, Any] = {"precision": loaded.precision.name, "placement": loaded.placement.words}
        applied["speed"] = acceleration.applied
        applied |= applied_of(job.loras)
        if len(turns) > 1:
            applied["together"] = len(turns)
        if peak.bytes is not None:
            applied["memory_bytes"] = loaded.placement.held_bytes(loaded.footprint) + peak.bytes
        for turn, clip in zip(turns, clips, strict=True):
            if isinstance(clip, CineletError):
                self._turns.end(turn, error=clip)
                continue
            timings = {
                "loading": loading_seconds,
                **acceleration.timings(denoising_seconds=reporter.denoising_seconds),
                "decoding": reporter.decoding_seconds,
            }
            changes = (*adjustments, *acceleration.adjustments, *cut_prompt(loaded.pipeline, turn.work.plan.arguments))
            self._turns.end(turn, result=Outcome(clip, timings, applied, changes))


class _Company:
    """The contexts of all that run together, as one. Who leaves disturbs nobody; when all have left, the run ends."""

    def __init__(self, turns: Sequence[Turn[Job, Outcome]]) -> None:
        self._turns = turns

    def check(self) -> None:
        """Raise if the run is to stop."""
        check_company(self._turns)

    def report(self, *stage: Any, **facts: Any) -> None:
        """Tell everybody who still waits."""
        for turn in alive(self._turns):
            turn.work.context.report(*stage, **facts)
