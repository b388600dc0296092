"""When a host that fails is left alone: states, events, and one table of what follows.

| state | asked | succeeded | failed | no verdict |
|---|---|---|---|---|
| `Closed` | let through | failures forgotten | counted; the last one allowed: `Open` | - |
| `Open` | refused; its time is over: `Probing` | - | - | - |
| `Probing` | refused | counted; the last one needed: `Closed`; else `Open`, due | `Open`, longer | `Open`, due |

Nothing here knows a clock or a lock. Only a probe's end is told to a circuit that is not closed: generations take
minutes, and those that began before it opened say nothing about now.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias, assert_never


class Event(Enum):
    """What happens to a circuit. A call that ends with NO_VERDICT was cancelled, or refused for the caller's fault."""

    ASKED = auto()
    SUCCEEDED = auto()
    FAILED = auto()
    NO_VERDICT = auto()


@dataclass(frozen=True, slots=True)
class Closed:
    """All is well. failures: when those happened that no success followed."""

    failures: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Open:
    """Left alone until `until`; then one may probe. seconds: how long that was. successes: of probes so far."""

    until: float
    seconds: float
    successes: int = 0


@dataclass(frozen=True, slots=True)
class Probing:
    """One call tries whether it works again. seconds, successes: as in `Open`."""

    seconds: float
    successes: int


Circuit: TypeAlias = Closed | Open | Probing


@dataclass(frozen=True, slots=True)
class CircuitRules:
    """The numbers of the table.

    It opens at `failures` within window_seconds with no success between them: a busy host fails now and then, and is
    not down. It stays open for open_seconds, twice as long after each failed probe up to max_open_seconds, and closes
    after `successes` probes.
    """

    failures: int = 5
    window_seconds: float = 30
    open_seconds: float = 30
    max_open_seconds: float = 300
    successes: int = 2

    def after(self, circuit: Circuit, event: Event, *, now: float) -> Circuit:
        """Return the circuit after an event."""
        match circuit:
            case Closed():
                return self._after_closed(circuit, event, now)
            case Open():
                is_due = event is Event.ASKED and now >= circuit.until
                return Probing(circuit.seconds, circuit.successes) if is_due else circuit
            case Probing():
                return self._after_probing(circuit, event, now)
            case _:
                assert_never(circuit)

    def _after_closed(self, circuit: Closed, event: Event, now: float) -> Circuit:
        match event:
            case Event.ASKED | Event.NO_VERDICT:
                return circuit
            case Event.SUCCEEDED:
                return Closed()
            case Event.FAILED:
                failures = (*(time for time in circuit.failures if time > now - self.window_seconds), now)
                if len(failures) < self.failures:
                    return Closed(failures)
                return Open(now + self.open_seconds, self.open_seconds)
            case _:
                assert_never(event)

    def _after_probing(self, circuit: Probing, event: Event, now: float) -> Circuit:
        match event:
            case Event.ASKED:
                return circuit
            case Event.NO_VERDICT:
                return Open(now, circuit.seconds, circuit.successes)
            case Event.SUCCEEDED:
                successes = circuit.successes + 1
                return Closed() if successes >= self.successes else Open(now, circuit.seconds, successes)
            case Event.FAILED:
                seconds = min(2 * circuit.seconds, self.max_open_seconds)
                return Open(now + seconds, seconds)
            case _:
                assert_never(event)
