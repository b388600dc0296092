"""What administrators see of the queue, the workers, the keys and the failures. Times are seconds since the epoch."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from pydantic import BaseModel, ConfigDict

from cinelet.api.limits import KeyLimits
from cinelet.jobs.keys import ApiKey
from cinelet.jobs.load import QueueLoad
from cinelet.jobs.orders import LOCAL_QUEUE
from cinelet.jobs.roster import KnownWorker
from cinelet.jobs.usage import Used
from cinelet.jobs.worker import REMOTE_QUEUE


class _View(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Counts(_View):
    """How many generations of each queue."""

    local: int
    remote: int


class QueueView(_View):
    """How much waits and runs."""

    object: Literal["queue"] = "queue"
    queued: Counts
    in_progress: Counts
    oldest_wait_seconds: float | None
    """Of what may begin; null where nothing waits."""
    max_waiting: int
    """One more is refused."""


class DeviceView(_View):
    """What the models of a worker run on; null where nothing was loaded yet, or where nobody knows."""

    name: str | None
    total_bytes: int | None
    free_bytes: int | None
    """What all programs of that machine have left on the device."""
    allocated_bytes: int | None
    """What tensors of the worker take."""
    reserved_bytes: int | None
    """What the worker keeps of it, that included."""


class LoadedModelView(_View):
    """A model that a worker has ready."""

    model: str
    revision: str | None
    """The commit of a Hub model."""
    bytes: int | None
    """What its tensors take."""
    estimated_bytes: int | None
    """What they were expected to take."""
    device: str
    placement: str
    """Its precision and where it lies, in words."""


class CircuitView(_View):
    """Whether a worker asks a host; probing: it failed, and one request tries whether it works again, or may."""

    name: str
    state: Literal["closed", "open", "probing"]
    failures: int
    open_seconds: float
    """Until one may try it."""


class WorkerView(_View):
    """A worker, as it was when it was heard of last."""

    name: str
    host: str
    pid: int
    queues: dict[str, int]
    """Which it works on, and how many generations at once of each."""
    running: int
    finished: int
    """How many generations it has brought to an end."""
    started_at: float
    seen_at: float
    resident_bytes: int
    """The memory of its process; what it has on a device of its own is not in it."""
    device: DeviceView
    models: list[LoadedModelView]
    circuits: list[CircuitView]


class WorkerList(_View):
    """Those that were heard of within 30 seconds, by name."""

    object: Literal["list"] = "list"
    data: list[WorkerView]


class Use(_View):
    """What was asked for within 24 hours, and what of it counts against limits."""

    generations: int
    """Whatever became of them."""
    video_seconds: float
    """Reserved for what waits or runs, and of what was made."""
    cost: float
    """The same, where it is known."""
    currency: str


class KeyView(_View):
    """A key without its secret, which nobody has."""

    id: str
    name: str
    owner: str
    role: Literal["read", "generate", "admin"]
    limits: KeyLimits
    created_at: float
    last_used_at: float | None
    revoked_at: float | None
    use: Use
    """Of its owner, by this key or another."""


class KeyList(_View):
    """The keys, also those that were revoked, the newest first."""

    object: Literal["list"] = "list"
    data: list[KeyView]


class FailureView(_View):
    """Generations that failed with the same code on the same model. message, generation_id: of the last one."""

    code: str
    model: str
    count: int
    last_at: float
    message: str
    generation_id: str


class FailureList(_View):
    """The most frequent first."""

    object: Literal["list"] = "list"
    data: list[FailureView]


def queue_view(load: QueueLoad, *, max_waiting: int) -> QueueView:
    """Return how much waits and runs."""
    queued, in_progress = (
        Counts(local=counts.get(LOCAL_QUEUE, 0), remote=counts.get(REMOTE_QUEUE, 0))
        for counts in (load.queued, load.in_progress)
    )
    return QueueView(
        queued=queued,
        in_progress=in_progress,
        oldest_wait_seconds=load.oldest_wait_seconds,
        max_waiting=max_waiting,
    )


def worker_view(worker: KnownWorker) -> WorkerView:
    """Return a worker."""
    report, condition = worker.report, worker.report.condition
    device = condition.device
    return WorkerView(
        name=worker.name,
        host=report.host,
        pid=report.pid,
        queues=dict(report.queues),
        running=report.running,
        finished=report.finished,
        started_at=report.started_at,
        seen_at=worker.seen_at.timestamp(),
        resident_bytes=report.resident_bytes,
        device=DeviceView(
            name=device.name,
            total_bytes=device.total_bytes,
            free_bytes=device.free_bytes,
            allocated_bytes=device.allocated_bytes,
            reserved_bytes=device.reserved_bytes,
        ),
        models=[LoadedModelView(**asdict(one)) for one in condition.models],
        circuits=[
            CircuitView(name=one.name, state=one.state, failures=one.failures, open_seconds=one.open_seconds)
            for one in condition.circuits
        ],
    )


def key_view(key: ApiKey, used: Used | None, *, currency: str) -> KeyView:
    """Return a key. Not whom it tells: such an address may hold a password of its receiver. currency: of its use."""
    use = used or Used()
    return KeyView(
        id=key.id,
        name=key.name,
        owner=key.owner,
        role=key.role.value,
        limits=KeyLimits.of(key),
        created_at=key.created_at.timestamp(),
        last_used_at=key.last_used_at and key.last_used_at.timestamp(),
        revoked_at=key.revoked_at and key.revoked_at.timestamp(),
        use=Use(generations=use.generations, video_seconds=use.video_seconds, cost=use.cost, currency=currency),
    )
