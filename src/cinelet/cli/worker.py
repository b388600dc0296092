"""`cinelet worker`: a process that works on queued generations."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Annotated

import typer

from cinelet.domain.errors import DeviceLostError, ValidationError

REMOTE_AT_ONCE = 100
QUEUES = ("remote", "local")
CLOSE_SECONDS = 10.0
"""What a process whose device is lost has to end in order."""
PARENT_SECONDS = 1.0
"""How late the end of a parent is noticed."""


def worker(
    *,
    queues: Annotated[str, typer.Option(help="Which queues to work on, separated by commas.")] = ",".join(QUEUES),
    concurrency: Annotated[
        int, typer.Option(min=1, help="How many remote generations at once; local ones run one after another.")
    ] = REMOTE_AT_ONCE,
    device: Annotated[
        str | None, typer.Option(help="Where local models run, such as cuda:1.", show_default=False)
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Serve metrics at this port of CINELET_METRICS_HOST.", show_default=False),
    ] = None,
    parent: Annotated[
        int | None, typer.Option(help="Stop when this process, which has started it, has ended.", show_default=False)
    ] = None,
    metrics_fd: Annotated[
        int | None,
        typer.Option(help="Answer that process on this descriptor, when it asks for metrics.", show_default=False),
    ] = None,
) -> None:
    """Work on queued generations until it is told to stop (Ctrl-C, SIGTERM). One a machine, or one a device."""
    import asyncio

    from cinelet.assembly import check_device, durable_jobs
    from cinelet.cli.worker_metrics import show_metrics
    from cinelet.config import Config
    from cinelet.garbage import collect_rarely, keep_what_is_loaded
    from cinelet.observability import exporting, logs

    given = {"cinelet_device": device, "cinelet_metrics_port": metrics_port}
    config = Config(**{name: value for name, value in given.items() if value is not None})
    logs.configure(level=config.cinelet_log_level or "WARNING", log_format=config.cinelet_log_format, process="worker")
    at_once = queue_sizes(queues, concurrency=concurrency)
    if "local" in at_once:
        # Every job that it took would fail for good.
        check_device(config)
    process = " ".join([",".join(at_once), *([device] if device else [])])

    async def work() -> None:
        async with durable_jobs(config) as jobs:
            running = jobs.worker(at_once)
            metrics_at = show_metrics(running.condition, config, process=process, descriptor=metrics_fd)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, running.stop)
            where = ", ".join(f"{queue} ({count} at once)" for queue, count in at_once.items())
            typer.echo(f"worker {running.name} works on {where}; jobs are in {jobs.database.where}", err=True)
            if metrics_at is not None:
                typer.echo(f"worker {running.name} shows metrics at {metrics_at}", err=True)
            keep_what_is_loaded()
            if "local" not in at_once:
                collect_rarely()
            orphaned = None if parent is None else asyncio.create_task(_stop_after(parent, running.stop))
            try:
                await running.run()
            except DeviceLostError as error:
                # To close what is left may never end, where a driver hangs; whoever starts another waits for this end.
                last = threading.Timer(CLOSE_SECONDS, _give_up, [error])
                last.daemon = True
                last.start()
                raise
            if orphaned is not None:
                orphaned.cancel()
            typer.echo(f"worker {running.name} has stopped after {running.finished} generations", err=True)

    with exporting.exported(**config.tracing, process="worker"):
        asyncio.run(work())


def _give_up(error: DeviceLostError) -> None:
    typer.echo(f"error: {error}", err=True)
    os._exit(1)


async def _stop_after(parent: int, stop: Callable[[], None]) -> None:
    """Stop when the parent is gone: a service that was killed must not leave workers behind that nobody knows of."""
    from cinelet.clock import SystemClock

    clock = SystemClock()
    while os.getppid() == parent:
        await clock.pause_async(PARENT_SECONDS)
    stop()


def queue_sizes(queues: str, *, concurrency: int) -> dict[str, int]:
    """Return how many generations at once of each queue that is named."""
    names = [name.strip() for name in queues.split(",") if name.strip()]
    unknown = [name for name in names if name not in QUEUES]
    if unknown or not names:
        message = f"There is no queue {', '.join(unknown) or 'in an empty list'}; the queues are {' and '.join(QUEUES)}"
        raise ValidationError(message, {"queues": "Unknown"})
    return {name: concurrency if name == "remote" else 1 for name in names}
