"""Somebody who makes videos with the backend, against the fake internet, on a clock that does not wait."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cinelet.backends.huggingface import HuggingFaceBackend
from cinelet.clock import FakeClock
from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.errors import CineletError
from cinelet.domain.progress import Progress
from cinelet.domain.request import Task, VideoRequest
from cinelet.testing import example_image
from cinelet.transport.client import Timeouts
from tests.fake_providers import HF_TOKEN, I2V_MODEL, T2V_MODEL, FakeInternet

MODELS = {Task.TEXT_TO_VIDEO: T2V_MODEL, Task.IMAGE_TO_VIDEO: I2V_MODEL}
PROMPT = "a quiet harbour with forty-two gulls"
DEADLINE_SECONDS = 600.0
OFFERS = (
    ("fal-ai", Task.TEXT_TO_VIDEO),
    ("fal-ai", Task.IMAGE_TO_VIDEO),
    ("wavespeed", Task.TEXT_TO_VIDEO),
    ("wavespeed", Task.IMAGE_TO_VIDEO),
    ("together", Task.TEXT_TO_VIDEO),
    ("together", Task.IMAGE_TO_VIDEO),
    ("replicate", Task.TEXT_TO_VIDEO),
    ("novita", Task.TEXT_TO_VIDEO),
)
"""What each provider does."""
QUEUES = ("fal-ai", "wavespeed", "together", "replicate")
"""The providers that can be asked about a job."""


@dataclass(slots=True)
class Outcome:
    """What became of a generation. handles: as they were saved, in order; `None` where one was forgotten."""

    video: GeneratedVideo | None
    error: BaseException | None
    handles: list[dict[str, Any] | None]
    progress: list[Progress]
    folder: Path

    def made(self) -> GeneratedVideo:
        """Return the video, or raise what was raised."""
        if self.error is not None:
            raise self.error
        assert self.video is not None
        return self.video

    def failed(self) -> CineletError:
        """Return the error; nothing may be left in the folder."""
        assert isinstance(self.error, CineletError), repr(self.error)
        assert "\n" not in str(self.error)
        assert PROMPT not in str(self.error.to_dict())
        assert HF_TOKEN not in str(self.error.to_dict())
        assert list(self.folder.iterdir()) == []
        return self.error


@dataclass(slots=True)
class Caller:
    """token, keys and the other settings are those of each backend that it makes."""

    internet: FakeInternet
    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    settings: dict[str, Any] = field(default_factory=dict)
    runs: int = 0

    def backend(self, **settings: Any) -> HuggingFaceBackend:
        """Return a new backend, as a new process has it."""
        values = {
            "token": HF_TOKEN,
            "clock": self.clock,
            "transport": self.internet.transport(),
            "resolve": self.internet.resolve,
            "random": lambda: 0.5,
            "timeouts": Timeouts(connect_seconds=2, read_seconds=2, write_seconds=2),
        }
        return HuggingFaceBackend(**{**values, **self.settings, **settings})

    def generate(self, request: VideoRequest, **surroundings: Any) -> Outcome:
        """Make a video with a backend of its own, in an event loop of its own."""
        return asyncio.run(self.generated(request, **surroundings))

    async def generated(
        self,
        request: VideoRequest,
        *,
        backend: HuggingFaceBackend | None = None,
        handle: Mapping[str, Any] | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        on_progress: Callable[[Context, Progress], None] = lambda _context, _progress: None,
        on_handle: Callable[[Context, Any], None] = lambda _context, _handle: None,
        on_task: Callable[[asyncio.Task[Any]], None] = lambda _task: None,
        on_context: Callable[[Context], None] = lambda _context: None,
    ) -> Outcome:
        """Make a video. on_task, on_context: see them before it begins."""
        self.runs += 1
        outcome = Outcome(None, None, [], [], self.folder / f"run-{self.runs}")
        outcome.folder.mkdir()

        def progressed(progress: Progress) -> None:
            outcome.progress.append(progress)
            on_progress(context, progress)

        async def saved(handle: Any) -> None:
            outcome.handles.append(copy.deepcopy(handle))
            on_handle(context, handle)

        context = Context(
            outcome.folder,
            deadline_seconds=deadline_seconds,
            on_progress=progressed,
            on_handle=saved,
            handle=handle,
            monotonic=self.clock.monotonic,
        )
        on_context(context)
        used = backend or self.backend()
        task = asyncio.ensure_future(used.generate(request, context))
        on_task(task)
        try:
            outcome.video = await task
        except (CineletError, asyncio.CancelledError) as error:
            outcome.error = error
        if backend is None:
            await used.aclose()
        return outcome


def video_request(provider: str | None = "fal-ai", task: Task = Task.TEXT_TO_VIDEO, **fields: Any) -> VideoRequest:
    """Return a request for the model of a task at a provider; None for any."""
    values: dict[str, Any] = {
        "model": f"hf:{MODELS[task]}" + (f":{provider}" if provider else ""),
        "prompt": PROMPT,
        "image": example_image() if task is Task.IMAGE_TO_VIDEO else None,
    }
    return VideoRequest(task=task, **{**values, **fields})


@dataclass(slots=True)
class LagMeter:
    """Measures how much its thread computes, at worst, without letting the event loop turn, in seconds.

    Computing, not time: what other processes do meanwhile to a busy machine is not counted.
    """

    worst_seconds: float = 0.0
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._measure())
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._task is not None
        self._task.cancel()

    async def _measure(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.worst_seconds = max(self.worst_seconds, time.thread_time() - before)
