"""What a key may use: requests a minute, generations at once, video and money a day; and the headers that say so.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy` says what is granted, `RateLimit`
what is left of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict

from cinelet.api.errors import BUSY_SECONDS, LimitReachedError
from cinelet.clock import Clock, SystemClock
from cinelet.domain.errors import ValidationError
from cinelet.domain.money import DECIMALS, money
from cinelet.jobs.keys import ApiKey
from cinelet.jobs.usage import DAY_SECONDS, Asked, lock_owner, unfinished, within_a_day

MINUTE_SECONDS = 60
_REQUESTS, _RUNNING, _VIDEO_SECONDS, _BUDGET = "requests", "running", "video-seconds", "budget"
_THOUSANDTHS = 1000
"""Headers have whole numbers only, so a budget is told in thousandths of its currency."""


class KeyLimits(BaseModel):
    """What a key grants; None for no limit."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    requests_per_minute: int | None = None
    running: int | None = None
    """Generations of the owner that wait or run."""
    video_seconds_per_day: int | None = None
    budget_per_day: float | None = None
    """What the owner's videos may cost in 24 hours."""
    currency: str | None = None
    """Of the budget."""

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """Return the limits of a key."""
        return cls(
            requests_per_minute=key.requests_per_minute,
            running=key.running,
            video_seconds_per_day=key.video_seconds_per_day,
            budget_per_day=key.budget_per_day,
            currency=key.currency,
        )


@dataclass(slots=True)
class _Bucket:
    """Fills by itself up to a minute's requests. at_seconds: when it held so many."""

    requests: float
    at_seconds: float


class RequestLimits:
    """How many requests each key has left now. Each process of the service counts for itself."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or SystemClock()
        self._buckets: dict[str, _Bucket] = {}

    def counted(self, key: ApiKey) -> Allowance:
        """Count a request of a key, and return what it has left: nothing, where it has had too many."""
        allowance = Allowance(key)
        granted = key.requests_per_minute
        if granted is None:
            return allowance
        now = self._clock.monotonic()
        a_second = granted / MINUTE_SECONDS
        bucket = self._buckets.setdefault(key.id, _Bucket(granted, now))
        bucket.requests = min(granted, bucket.requests + (now - bucket.at_seconds) * a_second)
        bucket.at_seconds = now
        if bucket.requests < 1:
            allowance.refuse_request(retry_after=(1 - bucket.requests) / a_second)
            return allowance
        bucket.requests -= 1
        allowance.left[_REQUESTS] = int(bucket.requests), (granted - bucket.requests) / a_second
        return allowance


class Allowance:
    """The limits of a key, during one request of it. left: by policy, how much, and for how many seconds."""

    def __init__(self, key: ApiKey) -> None:
        self._key = key
        self.left: dict[str, tuple[int, float]] = {}
        self.refusal: LimitReachedError | None = None
        """Why the request goes no further."""

    def refuse_request(self, *, retry_after: float) -> None:
        """Note that there were too many requests."""
        self.left[_REQUESTS] = 0, retry_after
        message = f"This key may send {self._key.requests_per_minute} requests a minute"
        self.refusal = LimitReachedError(f"{message}; try again later", retry_after=math.ceil(retry_after))

    @property
    def limits(self) -> KeyLimits:
        """What the key grants in all."""
        return KeyLimits.of(self._key)

    @property
    def limits_generations(self) -> bool:
        """Whether `admit` has anything to look at."""
        key = self._key
        return any(limit is not None for limit in (key.running, key.video_seconds_per_day, key.budget_per_day))

    async def admit(self, connection: AsyncConnection[Any], asked: Asked) -> None:
        """Raise `LimitReachedError` where the owner has too much, with what this transaction has made counted in.

        asked: what that is; `ValidationError` where it is too much at any time.
        """
        key = self._key
        self._require_fits(asked)
        await lock_owner(connection, key.owner)
        if key.running is not None:
            count = await unfinished(connection, key.owner, at_most=key.running + 1)
            self.left[_RUNNING] = max(0, key.running - count), BUSY_SECONDS
            if count > key.running:
                message = f"{key.running} generations wait or run, which is the most for this key"
                raise LimitReachedError(f"{message}; try again when one has ended", retry_after=BUSY_SECONDS)
        if key.video_seconds_per_day is not None:
            used = await within_a_day(connection, key.owner, "video_seconds", limit=key.video_seconds_per_day)
            self.left[_VIDEO_SECONDS] = max(0, int(key.video_seconds_per_day - used.amount)), DAY_SECONDS
            if used.amount > key.video_seconds_per_day:
                self.left[_VIDEO_SECONDS] = 0, used.fits_in_seconds
                message = f"This key may ask for {key.video_seconds_per_day} seconds of video in 24 hours"
                raise LimitReachedError(f"{message}; try again later", retry_after=used.fits_in_seconds)
        if key.budget_per_day is not None:
            await self._admit_cost(connection, key.owner, key.budget_per_day, str(key.currency))

    def _require_fits(self, asked: Asked) -> None:
        """Raise `ValidationError` for what is more than a limit grants where nothing else is asked for."""
        key, seconds, cost = self._key, asked.video_seconds, round(asked.cost or 0.0, DECIMALS)
        if key.running is not None and asked.generations > key.running:
            grants, asks, field = f"have {key.running} generations wait or run", f"{asked.generations}", "requests"
        elif key.video_seconds_per_day is not None and seconds > key.video_seconds_per_day:
            grants = f"ask for {key.video_seconds_per_day} seconds of video in 24 hours"
            asks, field = f"{seconds:g} seconds", "duration"
        elif key.budget_per_day is not None and cost > key.budget_per_day:
            grants = f"spend {money(key.budget_per_day, str(key.currency))} in 24 hours"
            asks, field = f"what may cost {money(cost, str(key.currency))}", "model"
        else:
            return
        message = f"This key may {grants}, and this asks for {asks}, which never fits; ask for less"
        raise ValidationError(message, {field: "More than the key's limit"})

    async def _admit_cost(self, connection: AsyncConnection[Any], owner: str, budget: float, currency: str) -> None:
        used = await within_a_day(connection, owner, "cost", limit=budget)
        self.left[_BUDGET] = max(0, int(round((budget - used.amount) * _THOUSANDTHS, DECIMALS))), DAY_SECONDS
        if used.amount > budget:
            self.left[_BUDGET] = 0, used.fits_in_seconds
            message = f"This key may spend {money(budget, currency)} in 24 hours, and this would make it"
            why = f"{message} {money(used.amount, currency)}, with what is reserved for videos that wait or run"
            raise LimitReachedError(f"{why}; try again later", retry_after=used.fits_in_seconds)

    def headers(self) -> dict[str, str]:
        """Return what is granted, and what is known to be left of it; nothing where there is no limit."""
        key = self._key
        policies = {
            _REQUESTS: (key.requests_per_minute, f";w={MINUTE_SECONDS}"),
            _RUNNING: (key.running, ';qu="concurrent-requests"'),
            _VIDEO_SECONDS: (key.video_seconds_per_day, f';w={DAY_SECONDS};qu="video-seconds"'),
            _BUDGET: (
                None if key.budget_per_day is None else int(round(key.budget_per_day * _THOUSANDTHS, DECIMALS)),
                f';w={DAY_SECONDS};qu="milli-{str(key.currency).lower()}"',
            ),
        }
        granted = [f'"{name}";q={quota}{more}' for name, (quota, more) in policies.items() if quota is not None]
        left = [f'"{name}";r={count};t={math.ceil(seconds)}' for name, (count, seconds) in self.left.items()]
        values = {"ratelimit-policy": ", ".join(granted), "ratelimit": ", ".join(left)}
        return {name: value for name, value in values.items() if value}
