"""How a process is asked for its metrics by the one that started it: over a pair of sockets without a name.

Nobody else can connect, no file is left behind, and the other end notices when one of them is gone. A question is one
byte, which names a format; an answer is its length in four bytes, and the text.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Callable

from cinelet.observability.logs import get_logger
from cinelet.observability.reading import Reading

MAX_ANSWER_BYTES = 32 * 1024 * 1024
_LENGTH = struct.Struct(">I")
_logger = get_logger(__name__)


class MetricsLink:
    """The asking end. other: the descriptor that the other process is given, and that is closed here afterwards."""

    def __init__(self) -> None:
        self._own, self._other = socket.socketpair()
        self._own.setblocking(False)  # noqa: FBT003
        self._turn = asyncio.Lock()
        self._readings: dict[bytes, Reading[bytes]] = {}

    @property
    def other(self) -> int:
        """The descriptor of the other end."""
        return self._other.fileno()

    def given(self) -> None:
        """Say that the other process has its end."""
        self._other.close()

    async def aclose(self) -> None:
        """Ask no more."""
        for reading in self._readings.values():
            await reading.end()
        self._other.close()
        self._own.close()

    async def text(self, question: bytes) -> bytes | None:
        """Return the metrics of the other process; None where it does not answer in time."""
        if question not in self._readings:
            self._readings[question] = Reading(lambda: self._asked(question), expected=(OSError, EOFError))
        return await self._readings[question].now()

    async def _asked(self, question: bytes) -> bytes:
        async with self._turn:
            await asyncio.get_running_loop().sock_sendall(self._own, question)
            (length,) = _LENGTH.unpack(await self._received(_LENGTH.size))
            if length > MAX_ANSWER_BYTES:
                raise EOFError(f"an answer of {length} bytes")
            return await self._received(length)

    async def _received(self, length: int) -> bytes:
        loop, pieces, missing = asyncio.get_running_loop(), [], length
        while missing:
            piece = await loop.sock_recv(self._own, missing)
            if not piece:
                raise EOFError("the other process is gone")
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)


def answer_questions(descriptor: int, text: Callable[[bytes], bytes]) -> None:
    """Answer in a thread until the other end is closed: an event loop that hangs is worth a metric, too."""
    os.set_inheritable(descriptor, False)  # noqa: FBT003
    end = socket.socket(fileno=descriptor)

    def answer() -> None:
        with end:
            try:
                while question := end.recv(1):
                    written = text(question)
                    end.sendall(_LENGTH.pack(len(written)) + written)
            except OSError as error:
                _logger.info("Nobody asks for metrics any more", extra={"reason": type(error).__name__})

    threading.Thread(target=answer, name="metrics", daemon=True).start()
