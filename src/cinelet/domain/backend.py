"""The seam: what makes a video implements `Backend`; a policy is a Backend around a Backend."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cinelet.domain.condition import LoadedModel
from cinelet.domain.errors import DeadlineExceededError, GenerationCancelledError, ModelUnsupportedError
from cinelet.domain.lora import Lora
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Progress, Stage
from cinelet.domain.request import Task, VideoRequest
from cinelet.domain.result import Adjustment, Attempt
from cinelet.domain.sizes import SizeRule

Handle = Mapping[str, Any]
"""What a provider gave us to ask again by: JSON values, no secret.

Every handle holds `model`, the reference that the backend was given. One with `submitting: true` is written just before
a request is sent: whoever finds it later knows that the request may have arrived, and not what became of it. One with
`ended: true` is of a job that made no video: whoever finds it may ask about that job again, and sends no other in its
place, which would be paid as well. One with `aside: true` is of a job that nobody waits for any more, as another model
is tried: whoever finds it asks once more, and goes on after its model. `before` lists the models whose jobs were set
aside before it: none of them is sent another.
"""


@dataclass(frozen=True, slots=True)
class FrameRule:
    """Frame counts that a model can make: `multiple * k + offset`, at least `minimum`, at most `maximum`."""

    multiple: int = 1
    offset: int = 0
    minimum: int = 1
    maximum: int | None = None

    def at_least(self, frames: int) -> int:
        """Return the smallest allowed count that is not below `frames`, or the largest allowed one."""
        wanted = max(frames, self.minimum)
        count = -(-(wanted - self.offset) // self.multiple) * self.multiple + self.offset
        if self.maximum is not None and count > self.maximum:
            count = (self.maximum - self.offset) // self.multiple * self.multiple + self.offset
        return count


@dataclass(frozen=True, slots=True)
class Offer:
    """A provider that lists a model. `why_not` is empty where it can be used, else says what is in the way."""

    provider: str
    task: str
    status: str
    provider_model: str
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do here. Sizes are (width, height) in pixels; None means that nobody knows."""

    model: str
    tasks: frozenset[Task]
    runs_on: str
    """Where: "this machine (cpu)", "fal-ai", ..."""
    parameters: frozenset[str]
    """The names of `VideoRequest` fields that have an effect; the others are adjusted away and reported."""
    native_fps: float | None = None
    frame_rule: FrameRule | None = None
    size_multiple: int | None = None
    size_rule: SizeRule | None = None
    """Which sizes are made in place of others, where that is known without asking."""
    default_size: tuple[int, int] | None = None
    default_steps: int | None = None
    default_guidance: float | None = None
    license: str | None = None
    description: str = ""
    vocabulary: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Words that the model knows, by kind, where that is a closed set."""
    examples: tuple[str, ...] = ()
    """Prompts that the model does well, to begin with."""
    offers: tuple[Offer, ...] = ()
    """Who runs a remote model, in the order in which they are tried."""


@dataclass(frozen=True, slots=True)
class GeneratedVideo:
    """A finished file, not yet probed. `path` lies in the context's folder; whoever made the context owns it."""

    path: Path
    model: str
    seed: int | None = None
    applied: Mapping[str, Any] = field(default_factory=dict)
    """The parameters as they were given to the model."""
    adjustments: tuple[Adjustment, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage."""
    attempts: tuple[Attempt, ...] = ()
    revision: str | None = None
    provider: str | None = None
    """Who ran it, where that is not this machine."""
    request_id: str | None = None
    """The provider's name for it."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model whose files are all on this machine. bytes: what came now; 0 where nothing was missing."""

    model: str
    folder: Path
    bytes: int = 0


@dataclass(slots=True)
class _Shared:
    """What a context and those made from it have in common."""

    handle: Handle | None
    aside: Handle | None = None
    latest: Progress | None = None
    preview: bytes | None = None
    cancelled: bool = False
    handed_over: bool = False
    on_cancel: dict[object, Callable[[], None]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Context:
    """One generation's surroundings: where files go, who hears of progress, when to stop.

    Safe to use from any thread. `folder` exists, is empty at the start, and is removed by its maker. `deadline_seconds`
    counts from construction. `handle` is what an earlier process saved, or None. `previews`: whether somebody would
    look at pictures of what is being made. `queue`: whose worker does this; what another's runs is chosen last.
    """

    def __init__(
        self,
        folder: Path,
        *,
        deadline_seconds: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_handle: Callable[[Handle | None], Awaitable[None]] | None = None,
        handle: Handle | None = None,
        previews: bool = False,
        queue: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.previews = previews
        self.queue = queue
        self._shared = _Shared(handle)
        self._monotonic = monotonic
        self._deadline = None if deadline_seconds is None else monotonic() + deadline_seconds
        self._deadline_seconds = deadline_seconds
        self._on_progress = on_progress
        self._on_handle = on_handle
        self._begin, self._end, self._note = 0.0, 1.0, ""

    def within(self, seconds: float | None) -> Context:
        """Return this context with a deadline that is no later than in `seconds`; all else is shared with it."""
        bounded = copy.copy(self)
        remaining = self.remaining_seconds()
        if seconds is not None and (remaining is None or seconds < remaining):
            bounded._deadline = self._monotonic() + seconds  # noqa: SLF001  (of its own class)
            bounded._deadline_seconds = seconds  # noqa: SLF001
        return bounded

    def share(self, begin: float, end: float, *, note: str = "") -> Context:
        """Return this context for a part of the work: what it is told of the part is a fraction of the whole."""
        part = copy.copy(self)
        length = self._end - self._begin
        part._begin, part._end = self._begin + length * begin, self._begin + length * end  # noqa: SLF001  (its own class)
        part._note = note or self._note  # noqa: SLF001
        return part

    def observed(self, hear: Callable[[Progress], None]) -> Context:
        """Return this context with somebody more who hears of progress, in the thread that reports it."""
        seen, told = copy.copy(self), self._on_progress

        def tell(progress: Progress) -> None:
            hear(progress)
            if told is not None:
                told(progress)

        seen._on_progress = tell  # noqa: SLF001  (of its own class)
        return seen

    @property
    def handle(self) -> Handle | None:
        """What was saved last, by this process or an earlier one."""
        return self._shared.handle

    @property
    def latest(self) -> Progress | None:
        """The last report."""
        return self._shared.latest

    def report(
        self, stage: Stage, fraction: float, *, step: int = 0, steps: int = 0, measured: bool = True, note: str = ""
    ) -> None:
        """Tell whoever listens. A fraction below an earlier one is raised to it: progress only grows."""
        with self._shared.lock:
            floor = self.latest.fraction if self.latest else 0.0
            fraction = self._begin + (self._end - self._begin) * fraction
            note = ", ".join(filter(None, (self._note, note)))
            preview, self._shared.preview = self._shared.preview, None
            progress = Progress(stage, min(max(fraction, floor), 1.0), step, steps, measured, note, preview)
            self._shared.latest = progress
        if self._on_progress is not None:
            self._on_progress(progress)

    def show(self, preview: bytes) -> None:
        """Give the next report a picture of what is being made: a small WebP file."""
        with self._shared.lock:
            self._shared.preview = preview

    def cancel(self) -> None:
        """Ask the generation to stop; it does so at its next `check`."""
        with self._shared.lock:
            self._shared.cancelled = True
            told, self._shared.on_cancel = self._shared.on_cancel, {}
        for call in told.values():
            call()

    def hand_over(self) -> None:
        """Ask the generation to stop here, and leave what runs at a provider to whoever goes on with its handle."""
        self._shared.handed_over = True
        self.cancel()

    @property
    def handed_over(self) -> bool:
        """Whether another process goes on with it."""
        return self._shared.handed_over

    def on_cancel(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have `call` called once when somebody asks to stop, from his thread, or now if that was before.

        Returns what takes this back.
        """
        key = object()
        with self._shared.lock:
            late = self._shared.cancelled
            if not late:
                self._shared.on_cancel[key] = call
        if late:
            call()
        return lambda: self._forget(key)

    def _forget(self, key: object) -> None:
        with self._shared.lock:
            self._shared.on_cancel.pop(key, None)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._shared.cancelled

    def remaining_seconds(self) -> float | None:
        """Return the seconds until the deadline (never below 0), or None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - self._monotonic())

    def check(self) -> None:
        """Raise `GenerationCancelledError` or `DeadlineExceededError` if it is time to stop."""
        if self._shared.cancelled:
            raise GenerationCancelledError("The generation was cancelled")
        if self.remaining_seconds() == 0.0:
            raise DeadlineExceededError(f"The deadline of {self._deadline_seconds:g} s is over")

    async def end_handle(self) -> None:
        """Keep durably that the job of the handle is over, and made no video."""
        if self.handle is not None:
            await self.save_handle({**self.handle, "ended": True})

    async def set_handle_aside(self) -> None:
        """Forget the handle here alone: until there is another, it stays kept as `aside`, should this process end."""
        if self.handle is not None:
            self._shared.handle, self._shared.aside = None, {**self.handle, "aside": True}
            await self.save_handle(None)

    async def save_handle(self, handle: Handle | None) -> None:
        """Keep a provider's handle durably, or None to forget it; returns when it is safe to go on."""
        aside = self._shared.aside
        if handle is not None and aside is not None and "before" not in handle:
            handle = {**handle, "before": [*aside.get("before", ()), aside["model"]]}
        self._shared.handle = handle
        if self._on_handle is not None:
            await self._on_handle(handle or aside)


@runtime_checkable
class Backend(Protocol):
    """What makes videos. Instances serve concurrent calls; blocking work runs in threads of their own."""

    async def capabilities(self, model: ModelReference) -> Capabilities:
        """Say what the model can do here, without loading weights. Raises the errors of `generate`."""
        ...

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        """Make the video of `request` (whose `model` is set) into `context.folder`."""
        ...

    async def aclose(self) -> None:
        """Give back memory, processes and connections. The backend is not used afterwards."""
        ...


@runtime_checkable
class Expands(Protocol):
    """A backend for whose models there may be several ways: it lists them, and each is a reference of its own."""

    async def expand(self, model: ModelReference, task: Task) -> Sequence[ModelReference]:
        """Return the references that do what `model` names, the best first; never none. Raises as `generate` does."""
        ...


@runtime_checkable
class Revises(Protocol):
    """A backend whose models may change under their names, and that can tell."""

    async def revision(self, model: ModelReference) -> str | None:
        """Name the state that the model is in here: another one makes other videos.

        None where nobody knows. Asks no network, loads nothing, and raises nothing.
        """
        ...


@runtime_checkable
class RevisesLoras(Protocol):
    """A backend that takes LoRAs, which may change under their names, and that can tell."""

    async def lora_revision(self, lora: Lora) -> str | None:
        """Name the state that the LoRA is in here, as `Revises.revision` does that of a model."""
        ...


@runtime_checkable
class Loads(Protocol):
    """A backend that runs models in this process, and can do ahead what the first video would wait for.

    A cancel of the awaiting task, or of the context, stops what can be stopped; an error leaves nothing loaded.
    """

    async def pull(self, model: ModelReference, context: Context) -> Pulled:
        """Bring the files of a model here that are missing. Reports bytes; raises the errors of `generate`."""
        ...

    async def load(self, model: ModelReference, context: Context) -> LoadedModel:
        """Pull a model, and have it loaded until something else needs its room. Waits until nothing runs."""
        ...

    async def unload(self, model: ModelReference) -> bool:
        """Forget a model, one that runs after its run. Returns whether it was loaded."""
        ...


def loads_of(backend: object, model: ModelReference) -> Loads:
    """Return a backend that loads models, or raise `ModelUnsupportedError` for one that runs them elsewhere."""
    if isinstance(backend, Loads):
        return backend
    raise nothing_is_loaded(model)


def nothing_is_loaded(model: ModelReference) -> ModelUnsupportedError:
    """Return the error for a model of which no process of ours holds anything."""
    why = f"{model} does not run in a process of this machine's, so nothing is loaded for it"
    return ModelUnsupportedError(f"{why}; name a model that does: local:org/name, local:./directory", str(model))
