"""RetryBackend: asks again where that is safe, later each time, and not for ever."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeGuard

from cinelet.clock import Clock
from cinelet.domain.backend import Backend, Capabilities, Context, GeneratedVideo
from cinelet.domain.condition import Condition, condition_of
from cinelet.domain.errors import CineletError, CircuitOpenError, HuggingFaceAPIError, SubmissionUnknownError
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Stage
from cinelet.domain.request import VideoRequest
from cinelet.observability import metrics
from cinelet.observability.logs import get_logger
from cinelet.observability.tracing import current
from cinelet.resilience.attempts import collect, failed, succeeded
from cinelet.resilience.budget import NO_ANSWER_TOKENS, RETRY_TOKENS, SUCCESS_TOKENS, RetryBudgets

_logger = get_logger(__name__)


class RetryBackend:
    """A backend that repeats what its host surely did not accept, and nothing else.

    key: by which retries are paid from `budgets`, the provider; None for models that are never repeated. attempts: in
    all. The pause before retry n (from 0) is drawn from 0 to base_seconds * 2^n, at most cap_seconds; where the host
    says how long to wait, it is that much and up to base_seconds more, so that all who were told the same do not return
    at once. Above max_retry_after_seconds, or where the deadline would pass meanwhile, the error is raised at once.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        key: Callable[[ModelReference], str | None],
        budgets: RetryBudgets,
        clock: Clock,
        random: Random,
        attempts: int = 3,
        base_seconds: float = 1,
        cap_seconds: float = 20,
        max_retry_after_seconds: float = 60,
    ) -> None:
        self._backend = backend
        self._key = key
        self._budgets = budgets
        self._clock = clock
        self._random = random
        self._attempts = attempts
        self._base_seconds = base_seconds
        self._cap_seconds = cap_seconds
        self._max_retry_after_seconds = max_retry_after_seconds

    async def capabilities(self, model: ModelReference) -> Capabilities:
        """Ask the backend, which repeats its own harmless questions."""
        return await self._backend.capabilities(model)

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        """Make the video, asking again where that is safe."""
        model = ModelReference.parse(request.model or "")
        key = self._key(model)
        if key is None:
            return await self._backend.generate(request, context)
        retry, tokens = 0, SUCCESS_TOKENS
        while True:
            began = self._clock.monotonic()
            try:
                video = await self._backend.generate(request, context)
            except CineletError as error:
                collect(failed(model, error, seconds=self._clock.monotonic() - began))
                pause_seconds = self._pause_seconds(error, retry, context)
                tokens = NO_ANSWER_TOKENS if error.facts().get("status") is None else RETRY_TOKENS
                if pause_seconds is None or not self._budgets.take(key, tokens):
                    raise
                facts = {"model": str(model), "code": error.code, "pause_seconds": round(pause_seconds, 3)}
            else:
                collect(succeeded(model, video, seconds=self._clock.monotonic() - began))
                # A retry that helped was worth its price, and gets it back.
                self._budgets.give(key, tokens)
                return video
            metrics.retried(key)
            current().add_event("retry", {"error.type": str(facts["code"]), "cinelet.pause_seconds": pause_seconds})
            _logger.info("The host did not take the request; it is asked again", extra=facts)
            note = f"{key} did not take the request; it is asked again in {pause_seconds:.0f} s"
            context.report(Stage.QUEUED, 0.0, measured=False, note=note)
            await self._clock.pause_async(pause_seconds, context=context)
            retry += 1

    def condition(self) -> Condition:
        """Return how the backend is."""
        return condition_of(self._backend)

    async def aclose(self) -> None:
        """Close the backend."""
        await self._backend.aclose()

    def _pause_seconds(self, error: CineletError, retry: int, context: Context) -> float | None:
        """Return how long to wait before the next attempt, or None if there must be none."""
        if retry + 1 >= self._attempts or not _was_surely_not_accepted(error, context):
            return None
        if error.retry_after is None:
            seconds = self._random.uniform(0, min(self._cap_seconds, self._base_seconds * 2**retry))
        elif error.retry_after <= self._max_retry_after_seconds:
            seconds = error.retry_after + self._random.uniform(0, self._base_seconds)
        else:
            return None
        remaining = context.remaining_seconds()
        return seconds if remaining is None or seconds < remaining else None


def _was_surely_not_accepted(error: CineletError, context: Context) -> TypeGuard[HuggingFaceAPIError]:
    """Tell whether the request can be sent again without the risk of paying twice, and with a chance."""
    return (
        isinstance(error, HuggingFaceAPIError)
        and not isinstance(error, CircuitOpenError | SubmissionUnknownError)
        and error.retryable
        and not error.accepted
        # A saved handle is a request that was, or may have been, accepted, whatever the error says.
        and context.handle is None
    )
