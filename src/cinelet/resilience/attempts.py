"""What was tried: made where it happens, collected by whoever tells the caller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from cinelet.domain.backend import GeneratedVideo
from cinelet.domain.errors import CineletError, CircuitOpenError, GenerationCancelledError, ValidationError
from cinelet.domain.model import ModelReference
from cinelet.domain.result import Attempt
from cinelet.observability import metrics
from cinelet.resilience.hosts import host_of

_NO_VERDICT = (GenerationCancelledError, ValidationError, CircuitOpenError)
"""Ends that say nothing about the model: it was not asked, or not to the end, or for what nobody could do."""
_collected: ContextVar[list[Attempt] | None] = ContextVar("collected_attempts", default=None)
"""A list of this generation's: neither an error nor a cancelled call could hand the attempts over as a result does."""


@contextmanager
def collecting() -> Iterator[list[Attempt]]:
    """Give a list that takes every attempt that is `collect`ed inside, by this task and those that it starts."""
    attempts: list[Attempt] = []
    token = _collected.set(attempts)
    try:
        yield attempts
    finally:
        _collected.reset(token)


def collect(attempt: Attempt) -> None:
    """Tell whoever collects about an attempt that has ended."""
    attempts = _collected.get()
    if attempts is not None:
        attempts.append(attempt)


def count_attempts(attempts: Iterable[Attempt]) -> None:
    """Count attempts that have ended."""
    for attempt in attempts:
        provider = host_of(ModelReference.parse(attempt.model)) or attempt.provider
        metrics.attempted(attempt.model, provider, attempt.error["code"] if attempt.error else None)


def collect_spoiled(attempts: Sequence[Attempt], error: CineletError) -> None:
    """Tell whoever collects about the attempts at a video that turned out to be none: the last one has failed."""
    for number, attempt in enumerate(attempts, start=1):
        told = replace(attempt, error=error.to_dict(), telling=not isinstance(error, _NO_VERDICT))
        collect(told if number == len(attempts) else attempt)


def succeeded(model: ModelReference, video: GeneratedVideo, *, seconds: float) -> Attempt:
    """Return the attempt that made the video."""
    return Attempt(str(model), seconds, provider=video.provider or model.provider, request_id=video.request_id)


def failed(model: ModelReference, error: CineletError, *, seconds: float) -> Attempt:
    """Return the attempt that ended with the error, with what that knows about the host."""
    facts = error.facts()
    return Attempt(
        str(model),
        seconds,
        error=error.to_dict(),
        provider=facts.get("provider") or model.provider,
        request_id=facts.get("request_id"),
        telling=not isinstance(error, _NO_VERDICT),
    )
