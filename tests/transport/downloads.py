"""A download from a server that answers as a test says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cinelet.clock import FakeClock
from cinelet.domain.backend import Context
from cinelet.domain.errors import (
    CineletError,
)
from cinelet.transport.client import Timeouts, make_client
from cinelet.transport.download import download
from tests.transport.loopback import (
    MP4_HEAD,
    PUBLIC,
    Answer,
    Asked,
    Loopback,
    Server,
    names,
    resolves_to,
)

VIDEO = MP4_HEAD + bytes(range(256)) * 4000
CDN = "https://cdn.example/v.mp4?signature=abcdef"
QUICK = Timeouts(connect_seconds=0.3, read_seconds=0.3, write_seconds=0.3)
MIB = 1024 * 1024


class Downloads:
    """Downloads from a server that answers so; keeps what was asked, waited and reported."""

    def __init__(self, folder: Path, *answers: Answer) -> None:
        self.path = folder / "v.mp4"
        self.context = Context(folder)
        self.answers = list(answers)
        self.clock: Any = FakeClock()
        self.max_bytes = 100 * MIB
        self.reports: list[tuple[int, int | None]] = []
        self.asked: list[Asked] = []
        self.options: dict[str, Any] = {"resolve": resolves_to(PUBLIC)}
        self.transport: httpx2.AsyncBaseTransport | None = None

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        async with Server(self.answers, self.asked) as server:
            transport = self.transport or Loopback(server.port)
            async with make_client(timeouts=QUICK, transport=transport) as client:
                await download(
                    CDN,
                    self.path,
                    client=client,
                    context=self.context,
                    clock=self.clock,
                    max_bytes=self.max_bytes,
                    report=lambda done, total: self.reports.append((done, total)),
                    **self.options,
                )

    def fails(self, kind: type[CineletError]) -> CineletError:
        with pytest.raises(kind) as caught:
            self.run()
        assert type(caught.value) is kind
        assert names(self.context) == [], "something was left behind"
        assert "abcdef" not in str(caught.value)
        assert "\n" not in str(caught.value)
        return caught.value
