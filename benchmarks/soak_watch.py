"""How the processes of `soak.py` are, second by second, and whether they stay so."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psutil

from benchmarks.jobs_place import server_processes

if TYPE_CHECKING:
    from benchmarks.report import Row

SAMPLE_SECONDS = 1.0
_Seen = TypeVar("_Seen")
LEAST_SAMPLES, LEAST_SHARE = 60, 0.25
"""Of all samples, those of a process that is judged: one that was killed before has nothing to tell."""
BEGIN, END = (0.35, 0.55), (0.8, 1.0)
"""The parts of a process's life that are compared. Before them caches fill, pools open, and modules are imported."""
MORE_MEMORY_SHARE, MORE_MEMORY_BYTES = 0.05, 24_000_000
MORE_FILES = 12
"""By how much the medians of the two parts may differ: traffic is not even."""
MOST_DATABASES = 65
"""Of PostgreSQL's processes: the pools (20 of the service, 10 of each worker and of this program), listeners and its
own. Pools grow when many ask at once, as after all connections were ended, and shrink after ten idle minutes.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process. memory: bytes that are resident, with those of its children."""

    memory: int
    files: int
    threads: int


class Watch:
    """Looks at the service, its workers and its database until it is cancelled. data: the data directory."""

    def __init__(self, service: psutil.Process, data: Path) -> None:
        self._service = service
        self._data = data
        self._samples: defaultdict[tuple[str, int], list[Sample]] = defaultdict(list)
        self._connections: list[int] = []
        self.known: dict[int, psutil.Process] = {}

    async def run(self) -> None:
        """Look again and again."""
        while True:
            began = time.monotonic()
            await asyncio.to_thread(self.look)
            await asyncio.sleep(max(0.0, began + SAMPLE_SECONDS - time.monotonic()))

    def look(self) -> None:
        """Take one sample of each process."""
        databases = server_processes(self._data)
        # One process of PostgreSQL serves one connection.
        self._connections.append(len(databases))
        for role, process in self.roles().items():
            with suppress(psutil.Error):
                below = (
                    [one for one in process.children(recursive=True) if one not in databases] if role != "api" else []
                )
                memory = sum(_memory(one) for one in (process, *below))
                self._samples[role, process.pid].append(Sample(memory, process.num_fds(), process.num_threads()))

    def roles(self) -> Mapping[str, psutil.Process]:
        """Return the processes of the service by what they do: `api`, and the queue of a worker."""
        found = {"api": self._service}
        with suppress(psutil.Error):
            for process in self._service.children():
                words = process.cmdline()
                if "--queues" in words:
                    found[words[words.index("--queues") + 1]] = process
                self.known[process.pid] = process
        return found

    def verdicts(self) -> list[Row]:
        """Return, for each process that lived long enough, how it was at first, and how at the end."""
        rows = []
        for (role, pid), samples in self._samples.items():
            if len(samples) < max(LEAST_SAMPLES, LEAST_SHARE * len(self._connections)):
                continue
            more_memory = max(MORE_MEMORY_BYTES, MORE_MEMORY_SHARE * _median(samples, BEGIN, _resident))
            kinds: Sequence[tuple[str, Callable[[Sample], float], float]] = (
                ("memory MB", _resident, more_memory),
                ("files", lambda sample: sample.files, MORE_FILES),
                ("threads", lambda sample: sample.threads, MORE_FILES),
            )
            for kind, of, allowed in kinds:
                rows.append(_row(f"{role} {pid}", kind, samples, of, allowed))
        more = MOST_DATABASES - _median(self._connections, BEGIN, float)
        rows.append(_row("PostgreSQL", "processes", self._connections, float, more))
        return rows


def _row(who: str, kind: str, samples: Sequence[_Seen], of: Callable[[_Seen], float], allowed: float) -> Row:
    unit = 1e6 if kind.endswith("MB") else 1
    first, last = _median(samples, BEGIN, of), _median(samples, END, of)
    return {
        "process": who,
        "what": kind,
        "samples": len(samples),
        "at first": first / unit,
        "at the end": last / unit,
        "may grow by": allowed / unit,
        "within": last - first <= allowed,
    }


def _median(samples: Sequence[_Seen], part: tuple[float, float], of: Callable[[_Seen], float]) -> float:
    begin, end = (int(share * len(samples)) for share in part)
    return float(statistics.median(of(sample) for sample in samples[begin:end]))


def _resident(sample: Sample) -> float:
    return float(sample.memory)


def _memory(process: psutil.Process) -> int:
    return int(process.memory_info().rss)
