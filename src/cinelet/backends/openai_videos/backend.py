"""`OpenAIVideosBackend`: the models of another engine that serves `/v1/videos`."""

from __future__ import annotations

import asyncio
import difflib
import random as random_numbers
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

import httpx2

from cinelet.backends.openai_videos import fields, handle
from cinelet.backends.openai_videos.engine import Engine
from cinelet.clock import Clock, SystemClock
from cinelet.domain.backend import Capabilities, Context, GeneratedVideo
from cinelet.domain.errors import AuthenticationError, ModelNotFoundError, ModelUnsupportedError, ValidationError
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Limits, Task, VideoRequest
from cinelet.observability.redaction import private
from cinelet.transport.client import Timeouts, make_client
from cinelet.transport.polling import PollSchedule

MODELS_SECONDS = 10.0
"""For an engine's list of its models, which is worth no long wait."""
_SEEDS = 2**31
"""Chosen seeds are below; some engines take no larger ones."""


class OpenAIVideosBackend:
    """Makes videos with another engine, by references such as `openai:name@https://host/v1`.

    tokens: by host ("gpu.example", or "gpu.example:8000"), sent as bearer to that host only. timeouts: of single steps.
    max_video_bytes: a larger file is refused while it arrives. schedule: of the questions about a job. clock,
    transport, random: stand in for the clock, the network, and draws from 0 to 1.
    """

    def __init__(
        self,
        *,
        tokens: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        max_video_bytes: int | None = None,
        schedule: PollSchedule | None = None,
        clock: Clock | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        self._tokens = {host.lower(): token for host, token in (tokens or {}).items()}
        self._timeouts = timeouts or Timeouts()
        self._max_video_bytes = Limits().max_video_bytes if max_video_bytes is None else max_video_bytes
        self._schedule = schedule or PollSchedule()
        self._clock: Clock = clock or SystemClock()
        self._transport = transport
        self._random = random or random_numbers.SystemRandom().random
        self._client: tuple[asyncio.AbstractEventLoop, httpx2.AsyncClient] | None = None

    async def capabilities(self, model: ModelReference) -> Capabilities:
        """Say what the protocol can do. Whether the engine has the model is known only where it lists its models."""
        engine = self._engine(model)
        try:
            async with asyncio.timeout(MODELS_SECONDS):
                served = await engine.served_models()
        except TimeoutError:
            served = None
        # A gateway lists patterns: "vendor/*".
        if served is not None and not any(fnmatchcase(model.name, name) or name == model.name for name in served):
            near = difflib.get_close_matches(model.name, served, n=3, cutoff=0.0)
            message = f"{engine.host} has no {model.name!r:.120}; it has {', '.join(near)[:300]}"
            raise ModelNotFoundError(message, provider=engine.host)
        return Capabilities(
            model=str(model),
            tasks=frozenset(Task),
            runs_on=engine.host,
            parameters=fields.PARAMETERS,
            description="A model of another engine; which task it does, the engine decides",
        )

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        """Make the video; a job that an earlier process left in `context.handle` is taken up, and nothing is sent."""
        reference = ModelReference.parse(request.model or "")
        request.refuse_local_fields(str(reference))
        engine = self._engine(reference)
        with private(request.prompt, request.negative_prompt):
            try:
                return await self._generate(request, reference, engine, context)
            except asyncio.CancelledError:
                context.cancel()
                raise

    async def aclose(self) -> None:
        """Close the connections."""
        held, self._client = self._client, None
        if held is not None and held[0] is asyncio.get_running_loop():
            await held[1].aclose()

    async def _generate(
        self, request: VideoRequest, reference: ModelReference, engine: Engine, context: Context
    ) -> GeneratedVideo:
        known, clock = str(reference), self._clock
        context.check()
        job = handle.restored(context.handle, reference=known, host=engine.host)
        began = clock.monotonic()
        if job is None:
            seed = int(self._random() * _SEEDS) if request.seed is None else request.seed
            form = fields.form_of(request, model=reference.name, seed=seed)
            job = await engine.create(form, reference=known, seed=seed, context=context)
        reply = await engine.follow(job, reference=known, context=context)
        done = clock.monotonic()
        path = await engine.fetch(job, reference=known, context=context)
        applied = fields.applied_by(reply, request, seed=job.seed)
        return GeneratedVideo(
            path,
            model=known,
            seed=job.seed,
            applied=applied,
            adjustments=fields.adjustments_of(request, applied),
            timings={"denoising": done - began, "downloading": clock.monotonic() - done},
            provider=engine.host,
            request_id=job.id,
        )

    def _engine(self, reference: ModelReference) -> Engine:
        if reference.scheme != "openai" or reference.url is None:
            message = f"{reference} names no engine; write openai:name@https://host/v1"
            raise ModelUnsupportedError(message, str(reference))
        return Engine(
            url=_checked(reference.url, str(reference)),
            token=self._token_for(reference.url),
            client=self._client_here(),
            clock=self._clock,
            schedule=self._schedule,
            random=self._random,
            max_video_bytes=self._max_video_bytes,
        )

    def _token_for(self, url: str) -> str | None:
        parts = urlsplit(url)
        token = self._tokens.get(parts.netloc.lower()) or self._tokens.get(parts.hostname or "")
        if token is not None and not (token.isascii() and token.isprintable()):
            message = f"The token for {parts.netloc} holds characters that cannot be sent"
            raise AuthenticationError(f"{message}; set it again, without line breaks", provider=parts.netloc)
        return token

    def _client_here(self) -> httpx2.AsyncClient:
        """Return the client of the running event loop; connections of a loop that has ended are of no use."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._client[0] is not loop:
            self._client = (loop, make_client(timeouts=self._timeouts, transport=self._transport))
        return self._client[1]


def _checked(url: str, reference: str) -> str:
    """Return an engine's address without a slash at its end; raise `ValidationError` where no path can follow it."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        message = f"{reference!r:.120} has an address that cannot be read; write openai:name@https://host/v1"
        raise ValidationError(message, {"model": "The address is broken"}) from error
    if parsed.query or parsed.fragment:
        message = f"{reference.partition('?')[0]!r:.120} has an address with a query; it ends with a path such as /v1"
        raise ValidationError(message, {"model": "The address must hold no query"})
    return url.rstrip("/")
