"""Where what is known of models comes from: this process's own book, or what all workers have learned together."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

from cinelet.clock import Clock
from cinelet.resilience.performance import Memory, Performance, Trial

MAX_MODELS = 10_000
"""Users name models, so their number must not be theirs to choose; the one not used for longest is forgotten."""


class Knowledge(Protocol):
    """Tells what is known of models by their names, as `name_of` has them. Times count as `Clock.monotonic`."""

    async def known(self, models: Sequence[str], task: str) -> Mapping[str, Performance]:
        """Return what is known, without those that nobody has seen. Never raises for want of it."""
        ...

    def learn(self, model: str, task: str, trial: Trial) -> None:
        """Take an outcome of this process, unless it is told elsewhere."""
        ...


class Book:
    """What this process has seen itself: for the library alone. Safe from any thread."""

    def __init__(self, clock: Clock, memory: Memory) -> None:
        self._clock = clock
        self._memory = memory
        self._pages: dict[tuple[str, str], Performance] = {}
        self._lock = threading.Lock()

    async def known(self, models: Sequence[str], task: str) -> Mapping[str, Performance]:
        """Return what was seen."""
        with self._lock:
            return {model: page for model in models if (page := self._pages.get((model, task))) is not None}

    def learn(self, model: str, task: str, trial: Trial) -> None:
        """Take an outcome."""
        with self._lock:
            before = self._pages.pop((model, task), Performance())
            self._pages[model, task] = before.after(trial, now=self._clock.monotonic(), memory=self._memory)
            if len(self._pages) > MAX_MODELS:
                del self._pages[next(iter(self._pages))]
