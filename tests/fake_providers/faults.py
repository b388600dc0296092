"""What goes wrong: scripted replies in place of the right ones, and connections that break on the way."""

from __future__ import annotations

import asyncio
import json as json_text
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Stage = Literal["mapping", "submit", "poll", "result", "redirect", "download", "cancel"]
Kind = Literal["reply", "hang", "close", "reset", "cut", "slow", "endless"]

HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_CHUNK = bytes(64 * 1024)


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong, as `FakeInternet.fail` describes it."""

    stage: Stage
    kind: Kind
    provider: str | None
    left: float
    accepted: bool
    status: int | None
    content: bytes | None
    media_type: str | None
    headers: Mapping[str, str]
    after_bytes: int | None
    seconds: float

    @property
    def scripted(self) -> bool:
        """Whether there is a reply in place of the right one."""
        return self.status is not None or self.content is not None

    @property
    def replaces(self) -> bool:
        """Whether nothing of the right reply is needed."""
        broken_at_once = self.kind in {"hang", "close", "reset"} and self.after_bytes is None
        return self.scripted or broken_at_once or self.kind == "endless"

    def around(self, right: ASGIApp) -> ASGIApp:
        """Return what is answered instead of `right`."""
        reply: ASGIApp = right
        if self.scripted:
            reply = Response(self.content, self.status or 200, dict(self.headers), self.media_type)
        return _FaultyReply(self, reply)


class Faults:
    """The faults that are still to come."""

    def __init__(self) -> None:
        self._script: list[Fault] = []

    def add(
        self,
        stage: Stage,
        kind: Kind,
        *,
        json: Any = None,
        html: bool = False,
        content: bytes | None = None,
        **facts: Any,
    ) -> None:
        """Script a fault. json, html, content: the body, of which at most one is given."""
        media_type = "text/html" if html else None
        if json is not None:
            content, media_type = json_text.dumps(json).encode(), "application/json"
        elif html:
            content = HTML
        self._script.append(Fault(stage, kind, content=content, media_type=media_type, **facts))

    def take(self, stage: Stage, provider: str) -> Fault | None:
        """Return the next fault of a stage, and count it."""
        for fault in self._script:
            if fault.stage == stage and fault.provider in {None, provider} and fault.left > 0:
                fault.left -= 1
                return fault
        return None

    @property
    def left(self) -> list[Fault]:
        """Those that have not happened as often as they should."""
        return [fault for fault in self._script if 0 < fault.left < float("inf")]


class _EnoughSentError(Exception):
    """The part of the body that gets through is through."""


@dataclass(slots=True)
class _FaultyReply:
    """A reply that is late, slow, short, or not there."""

    fault: Fault
    reply: ASGIApp
    _sent: int = field(default=0, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def pass_on(message: Message) -> None:
            await self._pass_on(message, send)

        if self.fault.kind != "slow":
            await asyncio.sleep(self.fault.seconds)
        if self.fault.kind in {"hang", "close", "reset"} and self.fault.after_bytes is None:
            await self._break(scope, receive)
        elif self.fault.kind == "endless":
            await self._send_without_end(receive, send)
        else:
            try:
                await self.reply(scope, receive, pass_on)
            except _EnoughSentError:
                await self._break(scope, receive)

    async def _pass_on(self, message: Message, send: Send) -> None:
        """Send what the fault lets through."""
        fault = self.fault
        if fault.kind == "reply":
            await send(message)
        elif message["type"] == "http.response.start":
            await send(_with_length(message, fault.after_bytes) if fault.kind == "cut" else message)
        elif fault.kind == "slow":
            await self._drip(message, send)
        else:
            body, more = message.get("body", b""), message.get("more_body", False)
            room = (fault.after_bytes or 0) - self._sent
            self._sent += len(body)
            if len(body) < room and more:
                await send(message)
                return
            await send({"type": "http.response.body", "body": body[:room], "more_body": fault.kind != "cut"})
            raise _EnoughSentError

    async def _drip(self, message: Message, send: Send) -> None:
        body = message.get("body", b"")
        size = self.fault.after_bytes or 100
        for start in range(0, len(body), size):
            await send({"type": "http.response.body", "body": body[start : start + size], "more_body": True})
            await asyncio.sleep(self.fault.seconds)
        await send({"type": "http.response.body", "more_body": message.get("more_body", False)})

    async def _break(self, scope: Scope, receive: Receive) -> None:
        """Do to the connection what the fault does, and wait until it is over."""
        connection = scope["state"]["connection"]
        if self.fault.kind == "cut":
            return
        if self.fault.kind == "close":
            connection.close()
        elif self.fault.kind == "reset":
            connection.reset()
        await _until_gone(receive)

    async def _send_without_end(self, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"video/mp4")]})
            while not gone.done():
                await send({"type": "http.response.body", "body": _CHUNK, "more_body": True})
                await asyncio.sleep(0)
        finally:
            gone.cancel()


def _with_length(message: Message, length: int | None) -> Message:
    """Return the start of a reply that says honestly how short it is."""
    headers = dict(message["headers"])
    headers[b"content-length"] = str(min(length or 0, int(headers[b"content-length"]))).encode()
    return {**message, "headers": list(headers.items())}


async def _until_gone(receive: Receive) -> None:
    """Wait until the connection is closed, by whomever."""
    while (await receive())["type"] != "http.disconnect":
        pass
