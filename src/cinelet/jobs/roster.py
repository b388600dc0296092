"""The table of workers: who works now, and how it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from cinelet.domain.condition import CircuitCondition, Condition, Device, LoadedModel
from cinelet.jobs.database import Database
from cinelet.jobs.rows import as_json

HEARD_OF_SECONDS = 30.0
"""After so long without a word a worker is on the list no more."""


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker says of itself. queues: how many generations at once of each. started_at: seconds since the epoch.

    running: how many generations it has now; finished: how many it has brought to an end.
    """

    host: str
    pid: int
    queues: Mapping[str, int]
    running: int
    finished: int
    started_at: float
    resident_bytes: int
    condition: Condition


@dataclass(frozen=True, slots=True)
class KnownWorker:
    """A worker that was heard of lately."""

    name: str
    seen_at: datetime
    report: WorkerReport


class Roster:
    """The workers that were heard of lately, on whatever machine."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self) -> Sequence[KnownWorker]:
        """Return them by name."""
        async with self._database.connection() as connection:
            rows = await connection.execute(
                "SELECT name, seen_at, report FROM workers"
                " WHERE seen_at > clock_timestamp() - make_interval(secs => %s) ORDER BY name",
                [HEARD_OF_SECONDS],
            )
            found = await rows.fetchall()
        return [KnownWorker(name, seen_at, _report(values)) for name, seen_at, values in found]

    async def write(self, name: str, report: WorkerReport) -> None:
        """Put a worker on the list, or what is new of it; `parameters` does this within another statement."""
        async with self._database.connection() as connection:
            await connection.execute("SELECT report_worker(%s, %s, %s)", parameters(name, report))

    async def remove(self, name: str) -> None:
        """Take a worker off the list."""
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM workers WHERE name = %s", [name])


def parameters(name: str, report: WorkerReport) -> list[Any]:
    """Return what `report_worker(%s, %s, %s)` takes."""
    return [name, as_json(asdict(report)), HEARD_OF_SECONDS]


def _report(values: Mapping[str, Any]) -> WorkerReport:
    told = values["condition"]
    condition = Condition(
        device=Device(**told["device"]),
        models=tuple(LoadedModel(**model) for model in told["models"]),
        circuits=tuple(CircuitCondition(**circuit) for circuit in told["circuits"]),
    )
    return WorkerReport(**{**values, "condition": condition})
