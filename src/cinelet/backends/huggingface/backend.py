"""`HuggingFaceBackend`: any video model that a provider serves through Hugging Face, and dedicated endpoints."""

from __future__ import annotations

import asyncio
import contextvars
import random as random_numbers
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from cinelet.backends.huggingface import choice, endpoint, handle, library
from cinelet.backends.huggingface.access import Access, Keyring
from cinelet.backends.huggingface.body import Body, json_body, json_body_with_picture
from cinelet.backends.huggingface.endpoint import Endpoint, endpoint_body
from cinelet.backends.huggingface.families import ENDPOINT, Family, family_of
from cinelet.backends.huggingface.job import JobRun, Line
from cinelet.backends.huggingface.mapping import Catalog, Listing
from cinelet.backends.huggingface.parameters import Plan, honoured, make_plan
from cinelet.backends.huggingface.picture import Picture, picture_of
from cinelet.backends.huggingface.providers import PROVIDERS, Provider
from cinelet.clock import Clock, SystemClock, watched
from cinelet.domain.backend import Capabilities, Context, GeneratedVideo
from cinelet.domain.errors import ModelUnsupportedError
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Limits, Task, VideoRequest
from cinelet.domain.result import Adjustment
from cinelet.observability.redaction import private
from cinelet.transport.addresses import Resolver, system_resolver
from cinelet.transport.client import Timeouts, make_client
from cinelet.transport.polling import PollSchedule

MAX_THREADS = 4
"""For building requests: pictures are encoded there, and hundreds that begin together do not hold up the loop."""

_SEEDS = 2**31
"""Chosen seeds are below; some hosts take no larger ones."""
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Session:
    """What belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    line: Line
    catalog: Catalog


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What a host is asked for, and what that leaves out."""

    plan: Plan
    picture: Picture | None
    adjustments: tuple[Adjustment, ...]


class HuggingFaceBackend:
    """Makes videos with models that others run.

    token: a Hugging Face token, for the Hub, the router and Hugging Face's own endpoints. provider_keys: by provider
    ("fal-ai"), for calls that do not go through the router. bill_to: the organisation that pays for routed calls.
    endpoint: of the Hub or a mirror. endpoint_tokens: by host, of the operator's own endpoints; an empty one for those
    that want none. schedule: of the questions about a job. max_video_bytes: one more is refused. transport, resolve,
    clock, random: stand in for the network, the name service, the clock, and draws from 0 to 1.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        provider_keys: Mapping[str, str] | None = None,
        bill_to: str | None = None,
        endpoint: str | None = None,
        endpoint_tokens: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        schedule: PollSchedule | None = None,
        max_video_bytes: int | None = None,
        clock: Clock | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        resolve: Resolver | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        self._keyring = Keyring(token=token, provider_keys=provider_keys or {}, bill_to=bill_to)
        self._hub_endpoint = endpoint
        self._endpoint_tokens = dict(endpoint_tokens or {})
        self._timeouts = timeouts or Timeouts()
        self._schedule = schedule or PollSchedule()
        self._max_video_bytes = Limits().max_video_bytes if max_video_bytes is None else max_video_bytes
        self._clock: Clock = clock or SystemClock()
        self._transport = transport
        self._resolve = resolve or system_resolver
        self._random = random or random_numbers.SystemRandom().random
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="huggingface")
        self._session: _Session | None = None

    async def capabilities(self, model: ModelReference) -> Capabilities:
        """Ask the Hub who serves the model, and say what the first of them can do."""
        if model.scheme == "endpoint":
            family = family_of(ENDPOINT, model.name)
            return Capabilities(
                model=str(model),
                tasks=frozenset(Task),
                runs_on=Endpoint(model.name, None, {}).host,
                parameters=frozenset().union(*(honoured(family, task) for task in Task)),
                description="A dedicated Inference Endpoint; which task it does, its own handler decides",
            )
        listings = await self._listings(model)
        best = {task: found[0] for task in Task if (found := self._candidates(listings, model, task))}
        if not best:
            raise choice.nobody(listings, model, self._a_task(listings), self._keyring)
        families = {task: family_of(item.provider, item.provider_model, model.name) for task, item in best.items()}
        first, family = next(iter(best.values())), next(iter(families.values()))
        return Capabilities(
            model=str(model),
            tasks=frozenset(best),
            runs_on=first.provider,
            parameters=frozenset().union(*(honoured(family, task) for task, family in families.items())),
            native_fps=family.native_fps,
            frame_rule=family.frame_rule if family.frames and not family.frame_choices else None,
            description=f"{model.name} at {first.provider}, as {first.provider_model}",
            offers=tuple(choice.offer_of(listing, self._keyring) for listing in choice.ordered(listings)),
        )

    async def expand(self, model: ModelReference, task: Task) -> Sequence[ModelReference]:
        """Return a reference for each provider that can be tried, in the Hub's order."""
        if model.scheme == "endpoint" or model.provider is not None:
            return (model,)
        listings = await self._listings(model)
        found = choice.usable(listings, task, self._keyring)
        if not found:
            raise choice.nobody(listings, model, task, self._keyring)
        return [ModelReference("hf", model.name, provider=listing.provider) for listing in found]

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        """Make the video; a job that an earlier process left in `context.handle` is taken up, and nothing is sent."""
        reference = ModelReference.parse(request.model or "")
        request.refuse_local_fields(str(reference))
        with private(request.prompt, request.negative_prompt):
            if reference.scheme == "endpoint":
                return await self._at_endpoint(request, reference, context)
            return await self._at_provider(request, reference, context)

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        self._threads.shutdown(wait=False)
        if session is not None and session.loop is asyncio.get_running_loop():
            await session.catalog.aclose()
            await session.line.client.aclose()

    def _here(self) -> _Session:
        """Return the session of the running event loop; connections of a loop that has ended are of no use."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.loop is not loop:
            client = make_client(timeouts=self._timeouts, transport=self._transport)
            line = Line(client, self._clock, self._random, self._schedule, self._resolve, self._max_video_bytes)
            catalog = Catalog(
                client,
                endpoint=self._hub_endpoint,
                token=self._keyring.token,
                clock=self._clock,
                random=self._random,
            )
            self._session = _Session(loop, line, catalog)
        return self._session

    async def _listings(self, model: ModelReference, *, context: Context | None = None) -> tuple[Listing, ...]:
        """Ask the Hub who serves a model; without any credential there is nothing to ask for."""
        if model.scheme not in {"hf", "hub"}:
            message = f"{model} does not name a model that others run"
            raise ModelUnsupportedError(f"{message}; use hf:org/name, or an endpoint's https:// address", str(model))
        if self._keyring.is_empty():
            raise self._keyring.nothing_to_call_with(str(model))
        if (named := PROVIDERS.get(model.provider or "")) is not None:
            self._keyring.access(named)
        return await self._here().catalog.listings(model.name, context=context)

    def _candidates(self, listings: Sequence[Listing], model: ModelReference, task: Task) -> list[Listing]:
        if model.provider is None:
            return choice.usable(listings, task, self._keyring)
        return [item for item in listings if item.provider == model.provider and item.does(task)]

    @staticmethod
    def _a_task(listings: Sequence[Listing]) -> Task:
        """Return a task to speak of where nobody serves a model: what it is listed for, if anything."""
        return next((task for listing in listings if (task := choice.task_of(listing))), Task.TEXT_TO_VIDEO)

    async def _at_provider(self, request: VideoRequest, reference: ModelReference, context: Context) -> GeneratedVideo:
        context.check()
        line, known, seed = self._here().line, str(reference), self._new_seed()
        began = line.clock.monotonic()
        if context.handle is not None and handle.belongs(context.handle, known):
            saved = handle.restore(context.handle, self._keyring)
            work = JobRun(line, known, saved.access, context)
            # What was sent follows from the request, so the Hub need not be asked again.
            seed = seed if saved.seed is None else saved.seed
            provider = saved.access.provider
            prepared = await self._in_thread(_prepared, request, provider, saved.provider_model, reference, seed)
        else:
            started = self._started(request, reference, seed, line=line, context=context)
            listing, access, prepared, post = await watched(started, context=context)
            work = JobRun(line, known, access, context)
            saved = await work.submit(post, provider_model=listing.provider_model, seed=prepared.plan.seed)
        submitted = line.clock.monotonic()
        video_url = await work.follow(saved)
        generated = line.clock.monotonic()
        path = await work.fetch(video_url)
        return GeneratedVideo(
            path,
            model=str(ModelReference("hf", reference.name, provider=work.host)),
            seed=prepared.plan.seed,
            applied=prepared.plan.parameters,
            adjustments=prepared.adjustments,
            timings={
                "submitting": submitted - began,
                "denoising": generated - submitted,
                "downloading": line.clock.monotonic() - generated,
            },
            provider=work.host,
            request_id=saved.job.id or saved.request_id,
        )

    async def _started(
        self, request: VideoRequest, reference: ModelReference, seed: int, *, line: Line, context: Context
    ) -> tuple[Listing, Access, _Prepared, httpx2.Request]:
        """Find the provider, and build what is sent to it."""
        async with line.starting:
            listings = await self._listings(reference, context=context)
            listing = choice.chosen(listings, reference, request.task, self._keyring)
            access = self._keyring.access(PROVIDERS[listing.provider])
            prepared, built, body = await self._in_thread(_built, request, listing, reference, access, seed)
            access.require_own(built.url)
            return listing, access, prepared, body.request(line.client, built.url, headers=built.headers)

    async def _at_endpoint(self, request: VideoRequest, reference: ModelReference, context: Context) -> GeneratedVideo:
        context.check()
        line, address = self._here().line, str(reference)
        if context.handle is not None and handle.belongs(context.handle, address):
            handle.restore(context.handle, self._keyring)  # raises: there is nobody to ask
        began = line.clock.monotonic()
        target = Endpoint(address, self._keyring.token, self._endpoint_tokens)
        prepared, body = await self._in_thread(_built_for_endpoint, request, address, self._new_seed())
        path, request_id = await endpoint.run(target, body, line=line, context=context)
        return GeneratedVideo(
            path,
            model=address,
            seed=prepared.plan.seed,
            applied=prepared.plan.parameters,
            adjustments=prepared.adjustments,
            timings={"denoising": line.clock.monotonic() - began},
            provider=ENDPOINT,
            request_id=request_id,
        )

    def _new_seed(self) -> int:
        return int(self._random() * _SEEDS)

    async def _in_thread(self, work: Callable[..., _Result], *arguments: Any) -> _Result:
        """Do what takes a while in a thread of ours: the loop's own ones write files to the disk meanwhile."""
        variables = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, variables.run, work, *arguments)


def _prepared(
    request: VideoRequest, provider: Provider, provider_model: str, reference: ModelReference, seed: int
) -> _Prepared:
    family = family_of(provider.name, provider_model, reference.name)
    return _plan_and_picture(request, family, provider.name, seed, max_characters=provider.max_image_characters)


def _built(
    request: VideoRequest, listing: Listing, reference: ModelReference, access: Access, seed: int
) -> tuple[_Prepared, library.BuiltRequest, Body]:
    prepared = _prepared(request, access.provider, listing.provider_model, reference, seed)
    built = library.build(
        listing,
        model=reference.name,
        task=request.task,
        prompt=request.prompt,
        parameters=prepared.plan.parameters,
        secret=access.secret,
        headers=access.billing(),
    )
    if prepared.picture is None or built.placeholder is None:
        return prepared, built, json_body(built.payload)
    picture, prefix = prepared.picture.data, prepared.picture.prefix
    body = json_body_with_picture(built.payload, picture, placeholder=built.placeholder, prefix=prefix)
    return prepared, built, body


def _built_for_endpoint(request: VideoRequest, address: str, seed: int) -> tuple[_Prepared, Body]:
    prepared = _plan_and_picture(request, family_of(ENDPOINT, address), ENDPOINT, seed, max_characters=None)
    return prepared, endpoint_body(request.prompt, prepared.plan.parameters, prepared.picture)


def _plan_and_picture(
    request: VideoRequest, family: Family, host: str, seed: int, *, max_characters: int | None
) -> _Prepared:
    plan = make_plan(request, family, host=host, seed=seed)
    if request.task is Task.TEXT_TO_VIDEO:
        return _Prepared(plan, None, plan.adjustments)
    picture, changes = picture_of(request, size=plan.size, max_characters=max_characters)
    return _Prepared(plan, picture, (*plan.adjustments, *changes))
