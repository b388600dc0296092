"""BreakerBackend: a model whose host keeps failing is left alone for a while, and answered for at once."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cinelet.clock import Clock
from cinelet.domain.backend import Backend, Capabilities, Context, GeneratedVideo
from cinelet.domain.condition import CircuitCondition, Condition, condition_of, merged
from cinelet.domain.errors import (
    AuthenticationError,
    CineletError,
    CircuitOpenError,
    DeadlineExceededError,
    HuggingFaceAPIError,
    ModelNotFoundError,
    PaymentRequiredError,
    RateLimitError,
    SubmissionUnknownError,
)
from cinelet.domain.model import ModelReference
from cinelet.domain.request import VideoRequest
from cinelet.observability.logs import get_logger
from cinelet.resilience.circuit import Circuit, CircuitRules, Closed, Event, Open, Probing

MAX_KEYS = 10_000
"""Users name models, so their number must not be theirs to choose; the one not used for longest is forgotten."""

_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CircuitState:
    """A circuit as a metric shows it.

    failures: those counted towards opening, or that opened it. open_seconds: until a probe is let through, 0 if it is.
    """

    state: Literal["closed", "open", "half_open"]
    failures: int
    open_seconds: float


class BreakerBackend:
    """A backend that answers with `CircuitOpenError` where the host behind it has failed again and again.

    key: which circuit a model belongs to; None for models that have none. attempt_seconds: the deadline that each
    attempt is given: one that ran into it is the host's failure, one that ran into a shorter one of the caller is not.
    Failures are counted when they end. Safe from any thread.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        key: Callable[[ModelReference], str | None],
        clock: Clock,
        rules: CircuitRules | None = None,
        attempt_seconds: float | None = None,
    ) -> None:
        self._backend = backend
        self._key = key
        self._clock = clock
        self._rules = rules or CircuitRules()
        self._attempt_seconds = math.inf if attempt_seconds is None else attempt_seconds
        self._circuits: dict[str, Circuit] = {}
        self._lock = threading.Lock()

    def states(self) -> dict[str, CircuitState]:
        """Return the circuits that have anything to tell; those of all other keys are closed."""
        with self._lock:
            now = self._clock.monotonic()
            return {key: self._state(circuit, now) for key, circuit in self._circuits.items()}

    def rests_seconds(self, model: ModelReference) -> float:
        """Return how long a model is left alone still, 0 where it would be asked."""
        key = self._key(model)
        with self._lock:
            circuit = None if key is None else self._circuits.get(key)
        return max(0.0, circuit.until - self._clock.monotonic()) if isinstance(circuit, Open) else 0.0

    async def capabilities(self, model: ModelReference) -> Capabilities:
        """Ask the backend."""
        return await self._backend.capabilities(model)

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        """Make the video, or raise `CircuitOpenError` at once."""
        model = ModelReference.parse(request.model or "")
        key = self._key(model)
        if key is None:
            return await self._backend.generate(request, context)
        # A saved job may be running and paid. To ask after it is no new load, and to drop it would be a loss.
        is_resumed = context.handle is not None
        is_probe = not is_resumed and self._admit(key, model)
        began = self._clock.monotonic()
        verdict = Event.NO_VERDICT
        try:
            video = await self._backend.generate(request, context)
            verdict = Event.SUCCEEDED
        except CineletError as error:
            if not (is_resumed and isinstance(error, SubmissionUnknownError)):
                verdict = self._verdict(error, seconds=self._clock.monotonic() - began)
            raise
        else:
            return video
        finally:
            self._end(key, verdict, is_probe=is_probe)

    def condition(self) -> Condition:
        """Return how the backend is, with the circuits that are not closed or have counted a failure."""
        circuits = tuple(
            CircuitCondition(
                key, "probing" if told.state == "half_open" else told.state, told.failures, told.open_seconds
            )
            for key, told in self.states().items()
            if told.failures
        )
        return merged([condition_of(self._backend), Condition(circuits=circuits)])

    async def aclose(self) -> None:
        """Close the backend."""
        await self._backend.aclose()

    def _admit(self, key: str, model: ModelReference) -> bool:
        """Let a call through and tell whether it is the probe, or raise `CircuitOpenError`."""
        with self._lock:
            now = self._clock.monotonic()
            before = self._circuits.get(key, Closed())
            circuit = self._put(key, self._rules.after(before, Event.ASKED, now=now))
        if isinstance(circuit, Closed):
            return False
        if isinstance(circuit, Probing) and circuit is not before:
            _logger.info("A host that failed is tried again", extra={"circuit": key})
            return True
        seconds = circuit.until - now if isinstance(circuit, Open) else self._rules.open_seconds
        message = f"{model} failed several times in a row and is left alone; try again in {math.ceil(seconds)} s"
        raise CircuitOpenError(f"{message}, or use another model", provider=model.provider, retry_after=seconds)

    def _end(self, key: str, verdict: Event, *, is_probe: bool) -> None:
        """Tell the circuit how a call ended."""
        with self._lock:
            before = self._circuits.get(key, Closed())
            if not is_probe and not isinstance(before, Closed):
                return
            circuit = self._put(key, self._rules.after(before, verdict, now=self._clock.monotonic()))
        if isinstance(circuit, Open) and verdict is Event.FAILED:
            _logger.warning("A host fails and is left alone", extra={"circuit": key, "open_seconds": circuit.seconds})
        elif isinstance(circuit, Closed) and is_probe:
            _logger.info("A host works again", extra={"circuit": key})

    def _put(self, key: str, circuit: Circuit) -> Circuit:
        self._circuits.pop(key, None)
        if circuit != Closed():
            self._circuits[key] = circuit
        if len(self._circuits) > MAX_KEYS:
            del self._circuits[next(iter(self._circuits))]
        return circuit

    def _verdict(self, error: CineletError, *, seconds: float) -> Event:
        """Say what an error tells about the host's health."""
        match error:
            case AuthenticationError() | PaymentRequiredError() | ModelNotFoundError() | RateLimitError():
                # The host is well, and answers. A rate limit is an account's: while its jobs run, more are refused, and
                # an open circuit would let one at a time through where the account may have several.
                return Event.NO_VERDICT
            case HuggingFaceAPIError(status=None | 408):
                return Event.FAILED
            case HuggingFaceAPIError(status=int(status)):
                return Event.FAILED if status >= 500 else Event.NO_VERDICT
            case DeadlineExceededError():
                # The attempt began a little before it came here; a tenth is more than that little.
                return Event.FAILED if seconds >= 0.9 * self._attempt_seconds else Event.NO_VERDICT
            case _:
                return Event.NO_VERDICT

    def _state(self, circuit: Circuit, now: float) -> CircuitState:
        if isinstance(circuit, Closed):
            recent = [time for time in circuit.failures if time > now - self._rules.window_seconds]
            return CircuitState("closed", len(recent), 0.0)
        seconds = max(0.0, circuit.until - now) if isinstance(circuit, Open) else 0.0
        return CircuitState("open" if seconds else "half_open", self._rules.failures, seconds)
