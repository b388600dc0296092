"""The first rank: runs whole pipelines, and has other processes compute their parts of the networks' calls."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cinelet.backends.diffusers import context_parallel, devices
from cinelet.backends.diffusers.context_rank import join, spec_of, spread
from cinelet.backends.diffusers.context_wire import END, FAILED, send
from cinelet.backends.diffusers.denoiser import denoisers
from cinelet.domain.errors import CineletError, ProcessingError
from cinelet.observability.logs import get_logger

START_SECONDS = 120.0
"""For Python, its libraries, and room for the weights on the device."""
END_SECONDS = 5.0
_logger = get_logger(__name__)


class RankLostError(ProcessingError):
    """A process that shared a network has ended; the run can be made again without it."""

    def __init__(self, device: str, why: str) -> None:
        super().__init__(f"The process that shared the model on {device} ended: {why}", "denoising")


@dataclass(eq=False)
class _Rank:
    """Another process. heard: whether it has room for the weights, or has ended. why: what it said when it failed."""

    device: str
    process: subprocess.Popen[bytes]
    connection: Connection
    heard: threading.Event = field(default_factory=threading.Event)
    why: str | None = None

    def lost(self) -> RankLostError | None:
        """Return the error where the process has ended, or is about to."""
        if self.why is None and self.process.poll() is None:
            return None
        return RankLostError(self.device, self.why or f"exit code {self.process.poll()}")

    def hear(self) -> None:
        """Hear what it says until it ends."""
        with suppress(EOFError, OSError):
            while True:
                said = self.connection.recv_bytes()
                if said.startswith(FAILED):
                    self.why = said.removeprefix(FAILED).decode(errors="replace")
                self.heard.set()
        self.heard.set()
        if self.process.wait():
            _wait_no_more()


class ContextGroup:
    """The devices that share the networks of one pipeline at a time. devices: the first one is this process's own.

    The other processes stay for the next run of the same networks; those of others, and `close`, end them.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self.devices = devices
        self._ranks: list[_Rank] = []
        self._network: weakref.ref[Any] | None = None
        """The first one of those that are shared."""
        self._config: Any = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._given_up: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        """Why a network is not shared any more."""

    def why_not(self, pipeline: Any) -> str | None:
        """Return what keeps a pipeline from being shared, or None; this starts the processes where there are none."""
        why = context_parallel.why_not(pipeline, ranks=len(self.devices))
        if why is not None:
            return why
        network = _first(pipeline)
        if network not in self._given_up and (self._network is None or self._network() is not network):
            self.close()
            try:
                self._start(pipeline)
            except Exception as error:  # noqa: BLE001  (it runs here alone, as it would otherwise)
                lost = next((lost for rank in self._ranks if (lost := rank.lost()) is not None), error)
                self._give_up(network, (str(lost).splitlines() or [type(lost).__name__])[0][:300])
        return self._given_up.get(network)

    @contextmanager
    def sharing(self, pipeline: Any) -> Iterator[None]:
        """Have all ranks compute the pipeline's networks until the end of the block; raises `RankLostError`."""
        with ExitStack() as stack:
            for name, network in denoisers(pipeline).items():
                stack.enter_context(context_parallel.shared(network, self._config))
                stack.enter_context(_calling(network, self._by_all(name, network, first=_first(pipeline))))
            try:
                yield
            except CineletError:  # a run that is to stop
                raise
            except Exception as error:  # as of what a call returned before its rank was lost
                self._check(_first(pipeline), error)
                raise
            devices.synchronize(self.devices[0])
            self._check(_first(pipeline))

    def forget(self, pipeline: Any) -> None:
        """End the other processes if it is this pipeline's networks that they have."""
        if self._network is not None and self._network() in denoisers(pipeline).values():
            self.close()

    def close(self, *, at_once: bool = False) -> None:
        """End the other processes. at_once: they may be waiting for this one in the midst of a call."""
        import torch.distributed

        for rank in self._ranks:
            if at_once:
                rank.process.kill()
            with suppress(OSError):
                rank.connection.send_bytes(END)
        for rank in self._ranks:
            try:
                rank.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                rank.process.kill()
                rank.process.wait()
            rank.connection.close()
        if torch.distributed.is_initialized():
            with suppress(Exception):  # the others are gone
                torch.distributed.destroy_process_group()
        if self._folder is not None:
            self._folder.cleanup()
        self._ranks, self._network, self._config, self._folder = [], None, None, None

    def _check(self, first: Any, cause: Exception | None = None) -> None:
        """Raise `RankLostError` where a rank has ended: on a GPU, calls that returned may not have been computed."""
        lost = next((lost for rank in self._ranks if (lost := rank.lost()) is not None), None)
        if lost is not None:
            self._give_up(first, str(lost))
            raise lost from cause

    def _give_up(self, first: Any, why: str) -> None:
        """Share a network, and those beside it, no more."""
        _logger.warning("A model is not shared any more", extra={"reason": why})
        self._given_up[first] = why
        self.close(at_once=True)

    def _start(self, pipeline: Any) -> None:
        import torch

        networks, count = denoisers(pipeline), len(self.devices)
        # As long as the processes: some connections are made when they are first needed, by way of it.
        self._folder = tempfile.TemporaryDirectory(prefix="cinelet-ranks-")
        told = {
            "ranks": count,
            "store": str(Path(self._folder.name) / "store"),
            "threads": torch.get_num_threads(),
            "networks": {name: spec_of(network) for name, network in networks.items()},
        }
        for number, device in enumerate(self.devices[1:], 1):
            self._ranks.append(_started(device))
            send({**told, "rank": number, "device": device}, self._ranks[-1].connection)
        for rank in self._ranks:
            in_time = rank.heard.wait(START_SECONDS)
            if (lost := rank.lost()) is not None:
                raise lost
            if not in_time:
                raise RankLostError(rank.device, f"it was not ready after {START_SECONDS:g} s")
        join(0, count, self.devices[0], str(told["store"]))
        for network in networks.values():
            spread(network)
        self._config = context_parallel.make_config(count, 0, self.devices[0])
        self._network = weakref.ref(_first(pipeline))

    def _by_all(self, name: str, network: Any, *, first: Any) -> Callable[..., Any]:
        """Return the call of a network that all ranks make. first: of the networks that are shared."""
        forward = network.forward

        @functools.wraps(forward)
        def call(*arguments: Any, **options: Any) -> Any:
            try:
                send([name, list(arguments), options], *(rank.connection for rank in self._ranks))
                return forward(*arguments, **options)
            except Exception as error:
                # gloo hears of the end of a process before the system has told us.
                lost = next((lost for rank in self._ranks if (lost := _soon_lost(rank)) is not None), None)
                if lost is None:
                    self.close(at_once=True)  # they wait in the midst of this call
                    raise
                self._give_up(first, str(lost))
                raise lost from error

        return call


def _first(pipeline: Any) -> Any:
    return next(iter(denoisers(pipeline).values()))


def _started(device: str) -> _Rank:
    ours, theirs = Pipe()
    descriptor = theirs.fileno()
    command = [sys.executable, "-m", "cinelet.backends.diffusers.context_rank", str(descriptor)]
    process = subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.DEVNULL)  # noqa: S603  (our own)
    theirs.close()
    rank = _Rank(device, process, ours)
    threading.Thread(target=rank.hear, name=f"rank on {device}", daemon=True).start()
    return rank


def _soon_lost(rank: _Rank) -> RankLostError | None:
    with suppress(subprocess.TimeoutExpired):
        rank.process.wait(0.5)
    return rank.lost()


def _wait_no_more() -> None:
    """End what waits for a process that is gone. gloo hears of it by itself; NCCL would wait on."""
    import torch.distributed

    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "nccl":
        from torch.distributed.distributed_c10d import _abort_process_group

        with suppress(Exception):
            _abort_process_group()


@contextmanager
def _calling(network: Any, forward: Callable[..., Any]) -> Iterator[None]:
    before = network.forward
    network.forward = forward
    try:
        yield
    finally:
        network.forward = before


def devices_of(first: str, count: int) -> Sequence[str]:
    """Return the devices that share a generation: the first, and those with the next numbers; a processor is one."""
    kind, _, number = first.partition(":")
    return [first] * count if kind == "cpu" else [f"{kind}:{int(number or 0) + step}" for step in range(count)]
