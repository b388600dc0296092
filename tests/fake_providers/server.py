"""An HTTP server on a free loopback port, in a thread of its own, that ends at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState


class LoopbackServer:
    """Serves an application. uvicorn's own `Server` waits for its clients at the end; this one hangs up on them.

    Each request's `scope["state"]["connection"]` is its `Connection`.
    """

    def __init__(self, app: ASGIApp) -> None:
        async def until_cancelled(scope: Scope, receive: Receive, send: Send) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await app(scope, receive, send)

        self._config = uvicorn.Config(
            until_cancelled,
            interface="asgi3",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=75,
        )
        self._config.load()
        self._state = ServerState()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake internet", daemon=True)
        self._thread.start()
        self._server: asyncio.Server = self._run(
            self._loop.create_server(self._connection, "127.0.0.1", 0, backlog=1024)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Hang up on every client and end the thread."""
        if self._loop.is_closed():
            return
        self._run(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _connection(self) -> asyncio.Protocol:
        state: dict[str, Any] = {}
        protocol = H11Protocol(self._config, self._state, state, self._loop)
        state["connection"] = Connection(protocol)
        return protocol

    async def _hang_up(self) -> None:
        self._server.close()
        for protocol in list(self._state.connections):
            protocol.transport.abort()
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # One more turn, in which the transports tell their protocols that they are lost.
        await asyncio.sleep(0)


class Connection:
    """A client's connection, to be broken."""

    def __init__(self, protocol: H11Protocol) -> None:
        self._protocol = protocol

    def close(self) -> None:
        """End it in order: what was written arrives, and then nothing (FIN)."""
        self._protocol.transport.close()

    def reset(self) -> None:
        """End it at once (RST)."""
        with_no_delay = struct.pack("ii", 1, 0)
        wire = self._protocol.transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, with_no_delay)
        self._protocol.transport.abort()
