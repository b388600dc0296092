"""What a result and its attempts have cost, by the table of prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cinelet.domain.errors import (
    AuthenticationError,
    CapacityError,
    CircuitOpenError,
    HuggingFaceAPIError,
    ModelNotFoundError,
    ModelUnsupportedError,
    PaymentRequiredError,
    RateLimitError,
    ValidationError,
)
from cinelet.domain.model import ModelReference
from cinelet.domain.result import Attempt
from cinelet.domain.video import VideoResult
from cinelet.resilience.hosts import is_remote
from cinelet.resilience.prices import PriceTable

_NOT_TAKEN = frozenset(
    error.code
    for error in (
        AuthenticationError,
        CapacityError,
        CircuitOpenError,
        HuggingFaceAPIError,
        ModelNotFoundError,
        ModelUnsupportedError,
        PaymentRequiredError,
        RateLimitError,
        ValidationError,
    )
)
"""Errors of a host that has not taken the work, where they do not say that it had."""
_OWN_STAGES = frozenset({"encoding", "upscaling", "submitting"})
"""What is done for one video alone also where several are made in one run."""
_NOT_COMPUTED = frozenset({"probing", "downloading"})


def billed(result: VideoResult, prices: PriceTable) -> VideoResult:
    """Return a result with its cost and those of its attempts, where they are known; nothing, if made for another."""
    if result.cache in {"hit", "joined"}:
        return replace(result, cost=0.0, currency=prices.currency)
    facts, model = result.facts, _parsed(result.model)
    seconds = compute_seconds(result.timings, result.applied)
    cost = None if model is None else prices.cost(model, video_seconds=facts.duration, seconds=seconds)
    attempts = tuple(
        replace(attempt, cost=cost) if attempt.error is None else attempt for attempt in priced(result.attempts, prices)
    )
    return replace(result, cost=cost, currency=prices.currency, attempts=attempts)


def priced(attempts: Sequence[Attempt], prices: PriceTable) -> list[Attempt]:
    """Return attempts with what is known of the cost of those that failed.

    Nothing, where its host has not taken the work; what this machine needs a second, where it failed here; unknown,
    where a host had or may have taken it: it may be billed.
    """
    return [attempt if attempt.error is None else _failed(attempt, prices) for attempt in attempts]


def compute_seconds(timings: Mapping[str, float], applied: Mapping[str, Any]) -> float:
    """Return what the stages of one video took, of a run that made several its share."""
    together = applied.get("together", 1)
    return sum(
        seconds if stage in _OWN_STAGES else seconds / together
        for stage, seconds in timings.items()
        if stage not in _NOT_COMPUTED
    )


def _failed(attempt: Attempt, prices: PriceTable) -> Attempt:
    error, model = attempt.error or {}, _parsed(attempt.model)
    if model is None or not (is_remote(model) or attempt.provider):
        price = None if model is None else prices.price(model)
        return attempt if price is None else replace(attempt, cost=price.failed(seconds=attempt.seconds))
    if error.get("code") in _NOT_TAKEN and not error.get("accepted"):
        return replace(attempt, cost=0.0)
    return replace(attempt, may_be_billed=True)


def _parsed(model: str) -> ModelReference | None:
    """Return the reference that a backend gave; a plugin's may be none."""
    try:
        return ModelReference.parse(model)
    except ValidationError:
        return None
