"""A server on loopback that answers byte by byte as a test says, and a way to reach it under production's names."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import httpx2

from cinelet.domain.backend import Context

PUBLIC = "93.184.215.14"
"""An address of the public internet, which no test connects to."""
MP4_HEAD = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41"

Answer = Callable[["Asked", asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived."""

    method: str
    target: str
    headers: httpx2.Headers
    body: bytes


@dataclass(slots=True)
class Server:
    """Answers the requests with `answers` in turn, the last one again and again; each connection serves one request."""

    answers: list[Answer]
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                asked = await _read(reader)
                self.asked.append(asked)
                answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
                await answer(asked, writer)
                await writer.drain()
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers = httpx2.Headers([(name, value) for name, _, value in (line.partition(": ") for line in head[1:] if line)])
    return Asked(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


def reply(
    body: bytes = b"", *, status: int = 200, length: int | None = None, then: Answer | None = None, **headers: str
) -> Answer:
    """Answer with these bytes. length: announced instead of the true one, -1 for none. then: what happens after."""
    return _reply(body, headers, status=status, length=length, then=then)


def _reply(
    body: bytes, headers: Mapping[str, str], *, status: int, length: int | None = None, then: Answer | None = None
) -> Answer:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} So", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if length != -1:
            lines.append(f"Content-Length: {len(body) if length is None else length}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        if then is not None:
            await then(asked, writer)

    return answer


def json_reply(body: str, *, status: int = 200, **headers: str) -> Answer:
    return _reply(body.encode(), {"Content-Type": "application/json", **headers}, status=status)


async def hang(_asked: Asked, _writer: asyncio.StreamWriter) -> None:
    """Say nothing more, and stay."""
    await asyncio.Event().wait()


async def reset(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Break the connection off, so that the other side sees a reset and not an end."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def close(_asked: Asked, _writer: asyncio.StreamWriter) -> None:
    """End the connection without a word more."""


def serve_file(content: bytes, *, etag: str = "", break_off_after: int | None = None) -> Answer:
    """Serve a file, `Range` and `If-Range` understood. break_off_after: bytes until it hangs up."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        start = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        headers = {"ETag": etag} if etag else {}
        if start and asked.headers.get("if-range") == etag:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status = 206
        else:
            start, status = 0, 200
        rest = content[start:]
        if break_off_after is None:
            await _reply(rest, headers, status=status)(asked, writer)
        else:
            await _reply(rest[:break_off_after], headers, status=status, length=len(rest))(asked, writer)

    return answer


def without_tls() -> httpx2.AsyncHTTPTransport:
    """Return what sends plain http: loading the certificates that nobody looks at would take most of a test's time."""
    return httpx2.AsyncHTTPTransport(verify=False)


class Loopback(httpx2.AsyncBaseTransport):
    """Sends every request to a port on loopback, whatever host it is for, and keeps what was asked for."""

    def __init__(self, port: int) -> None:
        self.requests: list[httpx2.Request] = []
        self._port = port
        self._inner = without_tls()

    @property
    def hosts(self) -> list[str]:
        """What was connected to, by request."""
        return [request.url.host for request in self.requests]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        extensions = {"timeout": request.extensions.get("timeout", {})}
        copy = httpx2.Request(
            request.method, url, headers=request.headers, stream=request.stream, extensions=extensions
        )
        return await self._inner.handle_async_request(copy)

    async def aclose(self) -> None:
        await self._inner.aclose()


def resolves_to(*addresses: str) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """Return a resolver that answers with these for every host."""

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return resolve


def names(context: Context) -> list[str]:
    """List what lies in the context's folder."""
    return sorted(path.name for path in context.folder.iterdir())
