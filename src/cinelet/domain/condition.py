"""The condition that a backend is in now: what it has loaded, on which device, and whom it leaves alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Device:
    """What models of a process run on; None where nobody knows without loading anything. Sizes are bytes.

    free_bytes: what the whole machine has left there. allocated_bytes: what tensors of this process take;
    reserved_bytes: what this process keeps of it, that included.
    """

    name: str | None = None
    total_bytes: int | None = None
    free_bytes: int | None = None
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to run. bytes: what its tensors take; None where that is not known.

    estimated_bytes: what they were expected to take. placement: its precision and where it lies, in words.
    """

    model: str
    device: str
    revision: str | None = None
    bytes: int | None = None
    estimated_bytes: int | None = None
    placement: str = ""


@dataclass(frozen=True, slots=True)
class CircuitCondition:
    """Whether a host is asked. probing: it failed, and one request tries it, or may.

    failures: those counted towards opening, or that opened it. open_seconds: until one may try it.
    """

    name: str
    state: Literal["closed", "open", "probing"]
    failures: int
    open_seconds: float


@dataclass(frozen=True, slots=True)
class Condition:
    """What there is to tell; nothing, of a backend that holds nothing. circuits: those that have counted a failure."""

    device: Device = field(default_factory=Device)
    models: tuple[LoadedModel, ...] = ()
    circuits: tuple[CircuitCondition, ...] = ()


@runtime_checkable
class TellsCondition(Protocol):
    """A backend that can say how it is."""

    def condition(self) -> Condition:
        """Return the condition now. It is asked about once a second while there is work, and in any thread.

        Loads nothing, asks no network, and raises nothing.
        """
        ...


def condition_of(backend: object) -> Condition:
    """Return how a backend is; nothing where it cannot tell."""
    return backend.condition() if isinstance(backend, TellsCondition) else Condition()


def merged(conditions: Iterable[Condition]) -> Condition:
    """Return the condition of several backends of one process; the device is that of the first that has one."""
    told = list(conditions)
    return Condition(
        device=next((one.device for one in told if one.device.name is not None), Device()),
        models=tuple(model for one in told for model in one.models),
        circuits=tuple(circuit for one in told for circuit in one.circuits),
    )
