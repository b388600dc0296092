"""One generation by the fake engine, and what is to be known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cinelet.backends.openai_videos import OpenAIVideosBackend
from cinelet.domain.backend import Context, GeneratedVideo, Handle
from cinelet.domain.errors import (
    CineletError,
)
from cinelet.domain.progress import Progress
from cinelet.domain.request import Task, VideoRequest
from cinelet.transport.polling import PollSchedule
from tests.backends.openai_videos.fake_engine import MODEL, FakeEngine
from tests.transport.loopback import names, without_tls

PRODUCTION = f"openai:{MODEL}@https://engine.example/v1"
TOKEN = "key-of-the-engine"
QUICK = PollSchedule(first_seconds=0, minimum_seconds=0.01, maximum_seconds=0.05, minimum_after_failure_seconds=0.01)


class Run:
    """One generation by an engine; keeps what was saved and reported, and what came of it."""

    def __init__(self, engine: FakeEngine, folder: Path, *, handle: Handle | None = None, **options: Any) -> None:
        self.engine = engine
        self.saved: list[Handle | None] = []
        self.seen: list[Progress] = []
        self.on_progress: Callable[[Progress], None] = lambda _: None
        self.deadline_seconds: float | None = None
        self.model = f"openai:{MODEL}@{engine.url}"
        self.options = {"schedule": QUICK, **options}
        self.folder = folder
        self.handle = handle
        self.context = self.make_context()

    def make_context(self) -> Context:
        return Context(
            self.folder,
            deadline_seconds=self.deadline_seconds,
            on_progress=self._progressed,
            on_handle=self._saved,
            handle=self.handle,
        )

    @property
    def is_over(self) -> bool:
        """Whether what was saved last says that the job is over."""
        assert self.context.handle is not None
        return bool(self.context.handle.get("ended"))

    async def _saved(self, handle: Handle | None) -> None:
        self.saved.append(None if handle is None else {**handle, "gets_before": self.engine.count("GET")})

    def _progressed(self, progress: Progress) -> None:
        self.seen.append(progress)
        self.on_progress(progress)

    def request(self, **values: Any) -> VideoRequest:
        basis = {"prompt": "a red fox", "duration": 1, "fps": 4, "width": 64, "height": 48, "seed": 5}
        return VideoRequest(**{"task": Task.TEXT_TO_VIDEO, "model": self.model, **basis, **values})

    async def generate(self, **values: Any) -> GeneratedVideo:
        backend = OpenAIVideosBackend(**{"transport": without_tls(), **self.options})
        try:
            return await backend.generate(self.request(**values), self.context)
        finally:
            await backend.aclose()

    def run(self, **values: Any) -> GeneratedVideo:
        self.context = self.make_context()
        return asyncio.run(self.generate(**values))

    def fails(self, kind: type[CineletError], **values: Any) -> Any:
        with pytest.raises(kind) as caught:
            self.run(**values)
        assert type(caught.value) is kind
        assert names(self.context) == [], "something was left behind"
        assert not {"fox", TOKEN} & set(str(caught.value).split())
        assert "\n" not in str(caught.value)
        return caught.value
