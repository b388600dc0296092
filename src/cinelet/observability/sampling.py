"""Which traces are recorded where nobody said it: all of them, until there are so many that they would cost.

Needs OpenTelemetry's SDK.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes

TRACES_PER_SECOND = 20.0
"""Of each name that a trace begins with, such as POST, in one process."""
MOST_NAMES = 100
"""Names beyond so many share one measure."""


class PacedSampler(Sampler):
    """Takes so many traces of each name a second, and as many at once: those who only ask crowd out nobody who orders.

    now: seconds of a clock that never goes back. May be asked by several threads.
    """

    def __init__(self, per_second: float = TRACES_PER_SECOND, *, now: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._now = now
        self._left: dict[str, tuple[float, float]] = {}
        """How many may still be taken of a name, and when that was."""
        self._lock = threading.Lock()

    def should_sample(  # noqa: PLR0917  (its parameters are the SDK's)
        self,
        parent_context: Context | None,  # noqa: ARG002
        trace_id: int,  # noqa: ARG002
        name: str,
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,  # noqa: ARG002
    ) -> SamplingResult:
        """Say whether a trace that begins with a span of this name is recorded."""
        now = self._now()
        with self._lock:
            key = name if name in self._left or len(self._left) < MOST_NAMES else ""
            left, at = self._left.get(key, (self._per_second, now))
            left = min(self._per_second, left + (now - at) * self._per_second)
            taken = left >= 1
            self._left[key] = (left - taken, now)
        return SamplingResult(Decision.RECORD_AND_SAMPLE if taken else Decision.DROP, attributes if taken else None)

    def get_description(self) -> str:
        """Return its name and its measure."""
        return f"PacedSampler{{{self._per_second:g} a second}}"


def paced() -> Sampler:
    """Return a sampler that goes on with what others record, and paces what begins here."""
    return ParentBased(PacedSampler())
