"""Clients of `gateway.py` in a process of their own, so that their CPU time is not the gateway's.

    python benchmarks/gateway_client.py < specification.json

Each client has one connection and sends its next request when the last one is answered. Prints as JSON how long each
took, the status codes, how many bytes came, and the replies where they are wanted. In the specification:

| | |
|---|---|
| port, clients, count | of the gateway; connections; requests in all |
| method, paths | the paths are asked for in turn |
| kind, body | Content-Type, and what is sent: "NUMBER" in it becomes another number each time |
| first | the first of those numbers |
| keep | whether replies are kept; if not, they are counted and thrown away as they come |
| limit_seconds | for all of it |
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httptools


class Connection(asyncio.Protocol):
    """One connection that stays open."""

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._answered: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self.received = 0
        self.body: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        """Keep the connection."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail whoever waits for an answer."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error or ConnectionError("The gateway hung up"))

    def on_body(self, piece: bytes) -> None:
        """Count, or keep, a piece of a reply."""
        self.received += len(piece)
        if self._keep:
            self.body.append(piece)

    def on_message_complete(self) -> None:
        """End the wait."""
        status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self._transport.close()
        self._parser = httptools.HttpResponseParser(self)
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(status)

    async def exchange(self, request: bytes) -> int:
        """Send a request, and return the status when all of the reply is there."""
        self.body.clear()
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent."""
        return not self._transport.is_closing()

    def close(self) -> None:
        """Hang up."""
        self._transport.close()


def request_bytes(specification: dict[str, Any], path: str, number: int) -> bytes:
    """Return a request as it is sent."""
    body: bytes = specification.get("body", "").replace("NUMBER", str(number)).encode()
    head = [f"{specification['method']} {path} HTTP/1.1", f"Host: 127.0.0.1:{specification['port']}"]
    if body:
        head += [f"Content-Type: {specification['kind']}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "Accept: */*", "", ""]).encode() + body


async def measure(specification: dict[str, Any]) -> dict[str, Any]:
    """Let all clients send until the count is reached."""
    loop = asyncio.get_running_loop()
    keep: bool = specification.get("keep", False)
    paths: Sequence[str] = specification["paths"]
    numbers = iter(range(specification["count"]))
    first: int = specification.get("first", 0)
    each: list[float] = []
    statuses: Counter[int] = Counter()
    replies: list[str] = []
    received = 0

    async def opened() -> Connection:
        made = await loop.create_connection(lambda: Connection(keep=keep), "127.0.0.1", specification["port"])
        return made[1]

    async def client() -> None:
        nonlocal received
        connection = await opened()
        for number in numbers:
            if not connection.is_open:
                received += connection.received
                connection = await opened()
            request = request_bytes(specification, paths[number % len(paths)], first + number)
            began = time.perf_counter()
            statuses[await connection.exchange(request)] += 1
            each.append(time.perf_counter() - began)
            if keep:
                replies.append(b"".join(connection.body).decode())
        received += connection.received
        connection.close()

    began = time.perf_counter()
    async with asyncio.timeout(specification["limit_seconds"]):
        await asyncio.gather(*(client() for _ in range(specification["clients"])))
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "each": each, "statuses": statuses, "bytes": received, "replies": replies}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(json.load(sys.stdin)))))
