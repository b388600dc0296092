"""A cache of videos, with a maker and a time that a test sets."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from pathlib import Path
from typing import Any

from cinelet.domain.backend import Context
from cinelet.domain.request import VideoRequest
from cinelet.storage.cache import VideoCache
from cinelet.storage.flights import Answer
from cinelet.storage.folder import FolderStore
from cinelet.storage.video_key import video_key
from tests.storage.maker import Maker, a_request

BEGIN_SECONDS = time.time() - 1000
"""The time of a library: before the files that it writes are as old as it says, they are the youngest."""


class Library:
    """A cache in a folder, a maker, and a time that a test sets."""

    def __init__(self, root: Path, *, maker: Maker | None = None, max_bytes: int = 1_000_000, **options: Any) -> None:
        self.root = root
        self.store = FolderStore(root / "store")
        self.seconds = BEGIN_SECONDS
        self.maker = maker or Maker()
        self.cache = VideoCache(self.store, max_bytes=max_bytes, now=lambda: self.seconds, **options)

    def folder(self) -> Path:
        folder = self.root / f"context-{secrets.token_hex(4)}"
        folder.mkdir()
        return folder

    async def ask(self, request: VideoRequest, *, revision: str | None = None, **options: Any) -> Answer:
        async def now() -> str | None:
            return revision

        options["revision"] = now
        return await self.cache.answer(request, Context(self.folder()), self.maker.of(request), **options)

    def answer(self, request: VideoRequest | None = None, **options: Any) -> Answer:
        answer = asyncio.run(self.ask(request or a_request(), **options))
        content = answer.result.path.read_bytes()
        assert len(content) == answer.result.facts.size
        return answer

    def use(self, seed: int) -> str:
        """Ask for a seed at the library's time and return where the answer came from; a second passes."""
        answer = self.answer(a_request(seed=seed))
        for path in self.files(seed):
            if path.name == "entry.json" or answer.how == "made":
                os.utime(path, (self.seconds, self.seconds))
        self.seconds += 1
        return answer.how

    def files(self, seed: int = 7) -> list[Path]:
        key = video_key(a_request(seed=seed)) or ""
        return sorted((self.root / "store" / "cache" / key[:2] / key).glob("*"), reverse=True)

    def stored(self) -> list[Path]:
        return [path for path in (self.root / "store").rglob("*") if path.is_file()]

    def seeds(self, count: int) -> list[int]:
        return [seed for seed in range(count) if self.files(seed)]
