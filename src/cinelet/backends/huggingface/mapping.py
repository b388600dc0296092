"""Who serves a model: the Hub's mapping of it, as the caller's own token sees it, in the Hub's order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from cinelet.clock import Clock, watched
from cinelet.domain.backend import Context
from cinelet.domain.errors import AuthenticationError, CineletError, HuggingFaceAPIError, ModelNotFoundError
from cinelet.domain.request import Task
from cinelet.transport.replies import exchange, json_object, refusal, request_id_of, retry_after_seconds

HUB_URL = "https://huggingface.co"
FRESH_SECONDS = 600.0
MAX_MODELS = 1000
MAX_TRIES = 3
MAX_REDIRECTS = 3
TRY_SECONDS = 30.0
MAX_RETRY_AFTER_SECONDS = 60.0

MODEL_TASKS: dict[Task, frozenset[str]] = {
    Task.TEXT_TO_VIDEO: frozenset({"text-to-video"}),
    Task.IMAGE_TO_VIDEO: frozenset({"image-to-video", "image-text-to-video"}),
}
"""What the Hub calls the tasks of models that do ours."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A provider's entry in a model's mapping. status: "live", "staging" or "error". provider_model: its own name."""

    provider: str
    task: str
    status: str
    provider_model: str
    adapter_weights_path: str | None = None

    def does(self, task: Task) -> bool:
        """Tell whether the entry is for a task."""
        return self.task in MODEL_TASKS[task]


class Catalog:
    """The mappings of models, each fetched once in ten minutes, whoever asks at the same time.

    endpoint: of the Hub or a mirror. token: whose private models are seen. random: draws from 0 to 1.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        *,
        endpoint: str | None,
        token: str | None,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._client = client
        self._endpoint = (endpoint or HUB_URL).rstrip("/")
        self._token = token
        self._clock = clock
        self._random = random
        self._known: dict[str, tuple[float, tuple[Listing, ...]]] = {}
        self._underway: dict[str, asyncio.Task[tuple[Listing, ...]]] = {}

    async def listings(self, model: str, *, context: Context | None = None) -> tuple[Listing, ...]:
        """Return who lists a model of the Hub, in the Hub's order; perhaps nobody.

        Raises `ModelNotFoundError`, `AuthenticationError`, and what the context does.
        """
        fetched_at, listings = self._known.get(model, (None, ()))
        if fetched_at is not None and self._clock.monotonic() - fetched_at < FRESH_SECONDS:
            return listings
        fetching = self._underway.get(model)
        if fetching is None:
            fetching = self._underway[model] = asyncio.ensure_future(self._fetch(model))
            fetching.add_done_callback(lambda done: self._fetched(model, done))

        async def shared() -> tuple[Listing, ...]:
            # Who leaves early must not take the answer from the others.
            return await asyncio.shield(fetching)

        return await (shared() if context is None else watched(shared(), context=context))

    async def aclose(self) -> None:
        """End what is under way."""
        underway = list(self._underway.values())
        for task in underway:
            task.cancel()
        await asyncio.gather(*underway, return_exceptions=True)

    def _fetched(self, model: str, done: asyncio.Task[tuple[Listing, ...]]) -> None:
        del self._underway[model]
        # Asking for the exception also tells the loop that somebody knows of it, should all who waited have left.
        if not done.cancelled() and done.exception() is None:
            self._known.pop(model, None)
            self._known[model] = self._clock.monotonic(), done.result()
            if len(self._known) > MAX_MODELS:
                del self._known[next(iter(self._known))]

    async def _fetch(self, model: str) -> tuple[Listing, ...]:
        for attempt in range(1, MAX_TRIES + 1):
            try:
                async with asyncio.timeout(TRY_SECONDS):
                    response = await self._get(model)
            except (httpx2.RequestError, TimeoutError) as error:
                message = f"The Hub cannot be reached for the providers of {model} ({type(error).__name__})"
                failure: CineletError = HuggingFaceAPIError(
                    f"{message}; check the network, or HF_ENDPOINT", provider="hub"
                )
                cause: Exception | None = error
                wanted = None
            else:
                found = json_object(response) if response.is_success else None
                if found is not None:
                    return _listings(found.get("inferenceProviderMapping"))
                failure, cause = self._failure(response, model), None
                wanted = retry_after_seconds(response.headers)
                if 200 < response.status_code < 500 and response.status_code != 429:
                    raise failure
            if attempt == MAX_TRIES or (wanted is not None and wanted > MAX_RETRY_AFTER_SECONDS):
                raise failure from cause
            await self._clock.pause_async(self._random() * 0.5 * 2**attempt if wanted is None else wanted)
        raise AssertionError

    async def _get(self, model: str) -> httpx2.Response:
        """Ask the Hub; a model that was renamed is found under its new name."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        url = httpx2.URL(f"{self._endpoint}/api/models/{model}", params={"expand": "inferenceProviderMapping"})
        for redirects in itertools.count():
            response = await exchange(self._client, self._client.build_request("GET", url, headers=headers))
            if not response.has_redirect_location or redirects == MAX_REDIRECTS:
                return response
            target = url.join(response.headers["location"])
            if (target.scheme, target.netloc) != (url.scheme, url.netloc):
                return response
            url = target.copy_merge_params({"expand": "inferenceProviderMapping"})
        raise AssertionError

    def _failure(self, response: httpx2.Response, model: str) -> CineletError:
        """Say what an answer of the Hub without a mapping means."""
        status = response.status_code
        facts: dict[str, Any] = {"status": status, "provider": "hub", "request_id": request_id_of(response.headers)}
        if response.headers.get("x-error-code") == "GatedRepo":
            message = f"{model} is gated: accept its terms at {HUB_URL}/{model} with the account of your token"
            return AuthenticationError(message, **facts)
        # Without a token the Hub answers 401 for what does not exist and for what is private, and tells nobody which.
        if status == 404 or (status == 401 and not self._token):
            hidden = "the token may not read it" if self._token else "it is private and there is no token (HF_TOKEN)"
            return ModelNotFoundError(f"The Hub has no model {model}, or {hidden}; check the spelling", **facts)
        if status in {401, 403}:
            message = f"The Hub refuses the token for {model} (status {status})"
            return AuthenticationError(f"{message}; set HF_TOKEN to a valid one with read access", **facts)
        if response.is_success:
            message = f"The Hub answered without a mapping about {model}"
            return HuggingFaceAPIError(f"{message}; try again later, or check HF_ENDPOINT", **facts)
        return refusal(response, what=f"the providers of {model}", provider="hub")


def _listings(mapping: Any) -> tuple[Listing, ...]:
    """Read the mapping: a dict by provider, or a list whose entries name theirs. What is no entry is left out."""
    entries = mapping.items() if isinstance(mapping, dict) else ((None, entry) for entry in mapping or ())
    return tuple(listing for name, entry in entries if (listing := _listing(name, entry)) is not None)


def _listing(name: str | None, entry: Any) -> Listing | None:
    if not isinstance(entry, dict):
        return None
    provider = name or entry.get("provider")
    match provider, entry:
        case str(), {"task": str(task), "status": str(status), "providerId": str(provider_model)} if provider_model:
            weights = entry.get("adapterWeightsPath")
            return Listing(provider, task, status, provider_model, weights if isinstance(weights, str) else None)
        case _:
            return None
