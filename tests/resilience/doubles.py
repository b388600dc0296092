"""Backends that do as they are told, and what the tests of all policies share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from cinelet.clock import FakeClock
from cinelet.domain.backend import Backend, Capabilities, Context, GeneratedVideo
from cinelet.domain.errors import HuggingFaceAPIError
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task, VideoRequest
from cinelet.resilience.performance import Memory, Performance, Trial
from cinelet.resilience.selection import Rules
from cinelet.resilience.selector import Selector

Outcome = BaseException | Callable[[VideoRequest, Context], Awaitable[None]] | None
"""What becomes of a call: an error, anything that is awaited before the video is made, or the video."""

UNAVAILABLE = HuggingFaceAPIError("The host is overloaded", status=503)


class ScriptedBackend:
    """A backend whose calls end as its script says, by model, and those of other models as `always` says.

    A list is used up from its front, and a video is what comes after it; anything else holds for every call.
    """

    def __init__(
        self, always: Outcome | list[Any] = None, script: Mapping[str, Outcome | list[Any]] | None = None
    ) -> None:
        self.always = always
        self.script = dict(script or {})
        self.calls: list[str] = []
        self.closed = False

    async def capabilities(self, model: ModelReference) -> Capabilities:
        outcome = self._next(str(model))
        if isinstance(outcome, BaseException):
            raise outcome
        return Capabilities(str(model), frozenset(Task), "nowhere", frozenset())

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        model = str(request.model)
        self.calls.append(model)
        outcome = self._next(model)
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome is not None:
            await outcome(request, context)
        await asyncio.sleep(0)
        path = context.folder / "video.mp4"
        path.write_text(f"{model} {request.prompt}")
        return GeneratedVideo(path, model=model, provider="somebody", request_id=f"request-{len(self.calls)}")

    async def aclose(self) -> None:
        self.closed = True

    def _next(self, model: str) -> Outcome:
        outcome = self.script.get(model, self.always)
        if isinstance(outcome, list):
            first: Outcome = outcome.pop(0) if outcome else None
            return first
        return outcome


class LargestRandom(Random):
    """Draws the upper end of every range."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


class HangingClock(FakeClock):
    """A clock whose pauses begin and never end."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = asyncio.Event()

    async def pause_async(self, seconds: float, *, context: Context | None = None) -> None:  # noqa: ARG002
        self.pauses_seconds.append(seconds)
        self.paused.set()
        await asyncio.Event().wait()


def request(model: str = "hf:org/first:fal-ai", **values: Any) -> VideoRequest:
    return VideoRequest(**{"task": Task.TEXT_TO_VIDEO, "prompt": "a red circle", "model": model, **values})


def context(folder: Path, clock: FakeClock | None = None, **parts: Any) -> Context:
    return Context(folder, monotonic=(clock or FakeClock()).monotonic, **parts)


async def as_named(model: ModelReference, task: Task) -> Sequence[ModelReference]:  # noqa: ARG001  (an `Expand`)
    return [model]


class Known:
    """Knowledge that a test writes down. taught: what was learned since."""

    def __init__(self, **models: Performance) -> None:
        self.models = {name.replace("_", "/"): known for name, known in models.items()}
        self.taught: list[tuple[str, str, Trial]] = []

    async def known(self, models: Sequence[str], task: str) -> Mapping[str, Performance]:  # noqa: ARG002
        return {model: self.models[model] for model in models if model in self.models}

    def learn(self, model: str, task: str, trial: Trial) -> None:
        self.taught.append((model, task, trial))


def performance(successes: int = 30, failures: int = 0, *, seconds: float = 10.0) -> Performance:
    """Return what is known after so many outcomes, of as many seconds for a second of video."""
    known = Performance()
    for number in range(failures + successes):
        known = known.after(Trial(number >= failures, seconds, 1.0), now=0.0, memory=Memory(outcomes=1e9))
    return known


def selector(backend: Backend, **parts: Any) -> Selector:
    """Return a selector that is never curious and knows nothing, with other parts."""
    given: dict[str, Any] = {
        "expand": as_named,
        "capable": backend.capabilities,
        "knowledge": Known(),
        "cost": lambda model, *, video_seconds, seconds: None,  # noqa: ARG005
        "rests_seconds": lambda _: 0.0,
        "queue_of": lambda model: "local" if model.scheme in {"local", "embedded"} else "remote",
        "auto_models": {},
        "fallbacks": {},
        "strategy": "ordered",
        "random": Random(1),
        "clock": FakeClock(),
        "rules": Rules(probe_every=float("inf"), worst_draw=0.0),
    }
    return Selector(**{**given, **parts})
