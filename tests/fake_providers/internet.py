"""All hosts together, and what a test does with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from starlette.applications import Starlette
from starlette.routing import Host, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.fake_providers.accounts import HF_TOKEN, KEYS, OTHER_HF_TOKEN
from tests.fake_providers.books import Books
from tests.fake_providers.endpoint import Endpoint
from tests.fake_providers.fal import Fal
from tests.fake_providers.faults import Fault, Kind, Stage
from tests.fake_providers.hub import HOST, Hub, HubModel
from tests.fake_providers.jobs import Failure, Job, Pace
from tests.fake_providers.novita import Novita
from tests.fake_providers.provider import ROUTER_HOST
from tests.fake_providers.replicate import Replicate
from tests.fake_providers.server import LoopbackServer
from tests.fake_providers.together import Together
from tests.fake_providers.traffic import Received
from tests.fake_providers.video import small_mp4
from tests.fake_providers.wavespeed import Wavespeed
from tests.fake_providers.wire import Wire

_PROVIDERS = (Fal, Wavespeed, Together, Replicate, Novita)


class FakeInternet:
    """The Hub, the router, the providers and an endpoint, as a context manager.

    Each instance has a port and a thread of its own, and knows nothing of the others. A job is
    queued for one poll and runs for one, unless `jobs_take` says otherwise.
    """

    def __init__(self) -> None:
        self._books = Books()
        self._app = _application(self._books)
        self._server = LoopbackServer(self._serve)
        self.wire = Wire(self._server.port)
        self.transport = self.wire.transport
        self.sync_transport = self.wire.sync_transport
        self.resolve = self.wire.resolve

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is None and self._books.crashes:
            raise ExceptionGroup("The fake itself failed", self._books.crashes)

    def close(self) -> None:
        """Hang up on every client and free the port; a second time changes nothing."""
        self._server.stop()

    @property
    def requests(self) -> Sequence[Received]:
        """Everything that arrived."""
        return tuple(self._books.requests)

    @property
    def jobs(self) -> Sequence[Job]:
        """Everything that a provider took on."""
        return tuple(self._books.ledger.jobs)

    @property
    def posts(self) -> int:
        """How many POSTs arrived that submit work, accepted or not."""
        return sum(request.method == "POST" and request.stage != "cancel" for request in self.requests)

    def paid(self, provider: str | None = None, *, prompt: str | None = None) -> int:
        """Return how many jobs were accepted; by a provider, and for a prompt, where they are given."""
        return sum(provider in {None, job.provider} and prompt in {None, job.prompt} for job in self.jobs)

    @property
    def cancelled(self) -> int:
        """How many jobs were cancelled at their provider."""
        return sum(job.cancelled for job in self.jobs)

    @property
    def strays(self) -> Sequence[str]:
        """Requests for hosts and addresses that are not here; they were refused before anything was sent."""
        return tuple(self.wire.strays)

    @property
    def leaks(self) -> Sequence[Received]:
        """Requests that showed a token or a key to a host that it is not for."""
        hosts = {provider.name: provider.api_host for provider in _PROVIDERS}
        owners = {secret: {hosts[name]} for name, secret in KEYS.items()}
        owners |= {token: {HOST, ROUTER_HOST, Endpoint.api_host} for token in (HF_TOKEN, OTHER_HF_TOKEN)}
        return [
            request
            for request in self.requests
            for secret, allowed in owners.items()
            if request.host not in allowed and _shows(request, secret)
        ]

    @property
    def video(self) -> bytes:
        """The file that every job makes."""
        return small_mp4()

    def publish(self, name: str, mapping: Mapping[str, Mapping[str, Any]], *, private_to: str | None = None) -> None:
        """Put a model on the Hub, or replace it. mapping: by provider, each with `status`, `providerId` and `task`."""
        self._books.models[name] = HubModel(mapping, private_to)

    def jobs_take(self, *, queued_polls: float = 1, running_polls: float = 1, seconds: float = 0.0) -> None:
        """Say how long the jobs take that are accepted from now on; `math.inf` polls for one that never ends."""
        self._books.ledger.pace = Pace(queued_polls, running_polls, seconds)

    def jobs_fail(self, error: str, *, status: int = 422, times: int = 1) -> None:
        """Let the next jobs fail after they ran, in each provider's own way. status: where the way has one."""
        self._books.ledger.failures.extend([Failure(error, status)] * times)

    def videos_have(self, size_bytes: int) -> None:
        """Let every file have so many bytes and still be a video; before the first download."""
        self._books.video_bytes = size_bytes

    def fail(
        self,
        stage: Stage,
        kind: Kind = "reply",
        *,
        status: int | None = None,
        json: Any = None,
        html: bool = False,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        accepted: bool = False,
        after_bytes: int | None = None,
        seconds: float = 0.0,
        provider: str | None = None,
        times: float = 1,
    ) -> None:
        """Let the next requests of a stage go wrong; faults of one stage come in the order of these calls.

        status, json, html, content, headers: what is answered; without any of them the right reply is damaged.
        accepted: a submitted job is taken (and paid) first, and only its reply is lost.
        seconds: a delay before the reply; of "slow", between its pieces.

        | kind | what happens |
        |---|---|
        | reply | the scripted reply |
        | hang | nothing more comes, until the client goes away |
        | close | the connection is closed in order (FIN), as a server does that restarts |
        | reset | the connection is reset (RST) |
        | cut | the reply is complete as HTTP, and its body is only `after_bytes` long |
        | slow | the body comes in pieces of `after_bytes` |
        | endless | a video that never ends, in chunks |

        hang, close and reset come before the first byte of a reply, or after `after_bytes` of its body.
        """
        self._books.faults.add(
            stage,
            kind,
            json=json,
            html=html,
            content=content,
            status=status,
            headers=headers or {},
            accepted=accepted,
            after_bytes=after_bytes,
            seconds=seconds,
            provider=provider,
            left=times,
        )

    @property
    def faults_left(self) -> Sequence[Fault]:
        """Scripted faults that have not happened as often as they should."""
        return self._books.faults.left

    def on_request(self, action: Callable[[Received], None]) -> None:
        """Call `action` with each request before it is answered, in the hosts' thread."""
        self._books.on_request = action

    async def until(self, condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
        """Wait until something has happened here, or raise `TimeoutError`."""

        def wait() -> bool:
            with self._books.changed:
                return self._books.changed.wait_for(condition, seconds)

        if not await asyncio.to_thread(wait):
            raise TimeoutError(f"It did not happen in {seconds:g} s")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write a request down, and pass it to its host."""
        received = await Received.read(scope, receive)
        self._books.requests.append(received)
        number = len(self._books.requests)
        scope["state"]["received"] = received

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                name = b"x-fal-request-id" if received.host == Fal.api_host else b"x-request-id"
                message = {**message, "headers": [*message["headers"], (name, b"req-%06d" % number)]}
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception as error:
            self._books.crashes.append(error)
            raise
        finally:
            self._books.notify()


def _application(books: Books) -> ASGIApp:
    providers = [provider(books) for provider in _PROVIDERS]
    routes = [route for provider in (*providers, Endpoint(books)) for route in provider.hosts()]
    router = Router([provider.mount() for provider in providers])
    return Starlette(routes=[Host(HOST, Hub(books).app), Host(ROUTER_HOST, router), *routes])


def _shows(request: Received, secret: str) -> bool:
    return (
        secret in " ".join((*request.headers.values(), request.path, request.query)) or secret.encode() in request.body
    )
