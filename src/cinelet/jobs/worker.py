"""Does the work that the ledger holds, so that neither a crash nor a stop loses it or pays for it twice."""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cinelet.clock import Clock, SystemClock, cancel_task
from cinelet.domain.backend import Context, Handle
from cinelet.domain.condition import Condition
from cinelet.domain.errors import CineletError, DeviceLostError, GenerationCancelledError, ProcessingError
from cinelet.domain.progress import Progress
from cinelet.domain.result import Attempt
from cinelet.jobs.batch_ledger import BatchLedger
from cinelet.jobs.claims import Claims
from cinelet.jobs.companions import claim_companions
from cinelet.jobs.completion import store_and_complete
from cinelet.jobs.counting import count_start
from cinelet.jobs.courier import Courier
from cinelet.jobs.database import Database
from cinelet.jobs.engine import DELIVERY_QUEUE, Engine
from cinelet.jobs.errors import ClaimLostError
from cinelet.jobs.generation import Generation
from cinelet.jobs.ledger import JobLedger
from cinelet.jobs.loader import Loader
from cinelet.jobs.orders import LOCAL_QUEUE, Orders
from cinelet.jobs.outcomes import Recorder
from cinelet.jobs.persistence import Persistence
from cinelet.jobs.presence import Presence
from cinelet.jobs.queue import restored_request
from cinelet.jobs.reporter import Reporter
from cinelet.jobs.sweep import sweep, tidy
from cinelet.jobs.work_trace import attempt_traced
from cinelet.observability.logs import get_logger
from cinelet.observability.tracing import blame, blame_code, current
from cinelet.resilience.attempts import collecting
from cinelet.service import VideoService
from cinelet.storage.blobs import BlobStore
from cinelet.storage.work_folder import make_work_folder, remove_abandoned

REMOTE_QUEUE = "remote"
DELIVERIES_AT_ONCE = 32
"""Of a worker that takes remote work; they wait for receivers, and never for a generation."""
MAX_CRASHES = 3
"""After so many workers were lost over a generation, it is taken for the cause."""
GRACE_SECONDS = 15.0
"""What a stopping worker waits for, below `STALLED_SECONDS`: meanwhile it has no heartbeat."""
SWEEP_SECONDS = 5.0
SWEEPS_OF_ALL = 15
"""Each so-many-th sweep looks at every generation, not only at those of workers that are gone."""
MAX_PAUSE_SECONDS = 5.0

_logger = get_logger(__name__)


@dataclass(slots=True)
class _Run:
    """A generation that this worker has claimed."""

    generation: Generation
    context: Context

    @property
    def id(self) -> str:
        return self.generation.id

    @property
    def claim(self) -> tuple[str, int]:
        return self.generation.id, self.generation.attempt


class Worker:
    """Works on the generations of some queues until it is stopped, and sends webhooks if remote ones are among them.

    queues: how many at once of each. together: how many local ones that are alike may be one run. preload: models to
    load at the start, where local ones are among them. deadline_seconds: for a generation, None for no limit. previews:
    whether pictures of what is being made are shown. recorder: of how attempts at models
    end. Several workers, on any number of machines, may share a database and a store.
    """

    def __init__(
        self,
        database: Database,
        store: BlobStore,
        service: VideoService,
        courier: Courier,
        orders: Orders,
        *,
        queues: Mapping[str, int],
        together: int = 1,
        preload: Sequence[str] = (),
        deadline_seconds: float | None = None,
        grace_seconds: float = GRACE_SECONDS,
        previews: bool = True,
        recorder: Recorder | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"{platform.node()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.ledger = JobLedger(database)
        self.finished = 0
        """How many generations it has brought to an end."""
        self._database = database
        self._store = store
        self._service = service
        self._courier = courier
        self._queues = {**queues, **({DELIVERY_QUEUE: DELIVERIES_AT_ONCE} if REMOTE_QUEUE in queues else {})}
        self._together = together
        self._deadline_seconds = deadline_seconds
        self._grace_seconds = grace_seconds
        self._previews = previews
        self._recorder = recorder or Recorder()
        self._clock: Clock = clock or SystemClock()
        self._running: dict[str, _Run] = {}
        self._claims = Claims(self.ledger)
        self._presence = Presence(
            database,
            name=self.name,
            queues=queues,
            counts=lambda: (len(self._running), self.finished),
            look=service.condition,
            clock=self._clock,
        )
        self._persisted = Persistence(self._clock)
        self._loader = Loader(database, orders, service, self._presence, preload=preload, clock=self._clock)
        self._lost: DeviceLostError | None = None
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def condition(self) -> Condition:
        """Return what the service last said of itself, without asking it: a driver that hangs hangs whoever asks."""
        return self._presence.condition

    async def run(self) -> None:
        """Work until `stop`, then hand over what runs at providers, and give what runs here some seconds to end.

        Raises `DeviceLostError` where this process cannot use its device any more. What ran there is left as by a
        worker that was killed: others take it up, and give it up where it is lost again and again.
        """
        await asyncio.to_thread(remove_abandoned)
        engine = Engine(self._database, self.work_on, self._courier.deliver, worker=self.name, clock=self._clock)
        async with self._courier, engine, self._presence:
            hearing = asyncio.create_task(
                engine.listener.hear([f"{self._database.schema}_cancels"], self._cancelled), name="cancels"
            )
            beside = [asyncio.create_task(self._sweep(), name="sweep")]
            if LOCAL_QUEUE in self._queues:
                beside.append(asyncio.create_task(self._loader.run(engine.listener), name="loader"))
            taking = [
                asyncio.create_task(self._taking(engine, queue, concurrency), name=f"queue {queue}")
                for queue, concurrency in self._queues.items()
            ]
            try:
                stopped = asyncio.create_task(self._stopping.wait())
                await asyncio.wait({stopped, *taking, *beside}, return_when=asyncio.FIRST_COMPLETED)
                stopped.cancel()
                for task in taking:
                    task.cancel()
                await engine.end()
                await self._hand_over()
            finally:
                for task in taking:
                    task.cancel()
                await cancel_task(hearing)
                for task in beside:
                    await cancel_task(task)
                ended = await asyncio.gather(*taking, *beside, return_exceptions=True)
                if self._lost is None:
                    await self._claims.give_back_unknown(self._database, worker=self.name)
            for outcome in ended:
                if isinstance(outcome, Exception):
                    raise outcome
        if self._lost is not None:
            raise self._lost

    def stop(self) -> None:
        """Take no more, and end soon; may be called again."""
        self._stopping.set()

    async def work_on(
        self, generation_id: str, lost_attempt: int | None = None, claimed: Generation | None = None
    ) -> bool:
        """Bring a generation to an end, if it can be claimed; `run` does this with what the queue gives.

        claimed: the generation, where it was claimed for this worker already. Returns whether the ledger has heard of
        its end or its release, and so ended the job, or whether the job is to stay with this worker until others find
        that it is gone.
        """
        if self._lost is not None:
            if claimed is not None:
                await self._claims.give_back(claimed.id, claimed.attempt)
            return True
        claimed = claimed or await self._persisted(
            lambda: self.ledger.claim(generation_id, worker=self.name, lost_attempt=lost_attempt)
        )
        if claimed is None:
            return False
        with self._claims.held(claimed):
            with_it = await self._companions(claimed)
        if not with_it:
            return await self._worked(claimed)
        ended = await asyncio.gather(*map(self._worked, [claimed, *with_it]), return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, BaseException):
                raise outcome
        return bool(ended[0])

    async def _companions(self, claimed: Generation) -> Sequence[Generation]:
        """Claim what may run together with a local generation; none where that fails, as nothing depends on it."""
        most = 0 if claimed.queue != LOCAL_QUEUE or self._stopping.is_set() else self._together - 1
        try:
            return await claim_companions(self._database, claimed, worker=self.name, most=most)
        except CineletError as error:
            _logger.info("Nothing else was looked for to run together", extra={"code": error.code})
            return []

    async def _worked(self, claimed: Generation) -> bool:
        folder = make_work_folder()
        try:
            with self._claims.held(claimed):
                async with attempt_traced(self._database, claimed):
                    return await self._claimed(claimed, folder)
        finally:
            try:
                folder.rmdir()
            except OSError:  # something is in it, and may be large
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _claimed(self, generation: Generation, folder: Path) -> bool:
        reporter = Reporter(self._writer(generation), clock=self._clock)
        run = _Run(
            generation,
            Context(
                folder,
                deadline_seconds=self._deadline_seconds,
                on_progress=reporter.take,
                on_handle=self._keeper(generation),
                handle=generation.handle,
                previews=self._previews,
                queue=generation.queue,
            ),
        )
        count_start(generation)
        self._running[run.id] = run
        self._idle.clear()
        self._presence.changed()
        reporting = asyncio.create_task(self._reported(reporter, run))
        if generation.cancel_requested:
            if generation.handle is None:
                run.context.cancel()
            else:
                # Only when it is being asked about again is it cancelled at its provider, too.
                reporter.on_first_report = run.context.cancel
        if self._stopping.is_set():
            run.context.hand_over()
        facts = {"generation": run.id, "attempt": generation.attempt}
        with collecting() as attempts:
            try:
                await self._made(run, attempts)
                self.finished += 1
            except ClaimLostError as error:
                _logger.warning("The claim was lost", extra={**facts, "reason": str(error)})
                return False
            except DeviceLostError as error:
                _logger.error("The device is lost, and this worker ends", extra={**facts, "reason": str(error)})  # noqa: TRY400
                self._lost = error
                self.stop()
                return True
            except asyncio.CancelledError:
                run.context.hand_over()
                await asyncio.shield(self._persisted(lambda: self.ledger.release(*run.claim)))
                raise
            else:
                return True
            finally:
                await cancel_task(reporting)
                del self._running[run.id]
                self._presence.changed()
                if not self._running:
                    self._idle.set()

    async def _made(self, run: _Run, attempts: list[Attempt]) -> None:
        """Make the video and store it, or note why there is none."""
        try:
            _refuse_poison(run)
            request = await restored_request(run.generation.request, self._store)
            result = await self._service.generate(request, run.context)
            # From here on a stop has nothing left to save: storing is short, and the work is paid for.
            tried = self._recorder.made(result)
            await self._persisted(lambda: store_and_complete(self.ledger, self._store, run.claim, result, tried))
        except GenerationCancelledError as error:
            blame(error, current())
            if run.context.handed_over:
                await self._persisted(lambda: self.ledger.release(*run.claim))
            else:
                tried = self._recorder.failed(run.generation.request, attempts, self._service.prices)
                await self._persisted(lambda: self.ledger.cancel(*run.claim, tried=tried))
        except (ClaimLostError, DeviceLostError):
            raise
        except Exception as error:  # the door of this process: whatever it is, the generation must come to an end
            if not isinstance(error, CineletError):
                _logger.exception("A generation failed in a way that nobody foresaw", extra={"generation": run.id})
                error = ProcessingError(f"The worker failed: {type(error).__name__}; its log says where", "storing")
            # Not what it says: here, nobody knows any more what the prompt was.
            blame_code(current(), error.code)
            tried, why = self._recorder.failed(run.generation.request, attempts, self._service.prices), error.to_dict()
            await self._persisted(lambda: self.ledger.fail(*run.claim, error=why, tried=tried))

    def _writer(self, generation: Generation) -> Callable[[Progress, float | None], Awaitable[None]]:
        async def write(progress: Progress, eta_seconds: float | None) -> None:
            claim = (generation.id, generation.attempt)
            self._presence.changed()  # another model may be loaded since
            if await self.ledger.progress(*claim, progress, eta_seconds=eta_seconds):
                self._cancel(generation.id)

        return write

    def _keeper(self, generation: Generation) -> Callable[[Handle | None], Awaitable[None]]:
        async def keep(handle: Handle | None) -> None:
            await self._persisted(lambda: self.ledger.save_handle(generation.id, generation.attempt, handle))

        return keep

    async def _reported(self, reporter: Reporter, run: _Run) -> None:
        """Pass on progress; a claim that is lost ends the work here, and nothing at the provider."""
        try:
            await reporter.run()
        except ClaimLostError:
            run.context.hand_over()

    def _cancel(self, generation_id: str) -> None:
        run = self._running.get(generation_id)
        if run is not None:
            run.context.cancel()

    async def _taking(self, engine: Engine, queue: str, concurrency: int) -> None:
        """Take jobs; an engine that gave up, because the database was away for long, is started anew."""
        while True:
            try:
                await engine.run(queue, concurrency=concurrency)
            except Exception:
                _logger.exception("The queue is not read now", extra={"queue": queue})
            await self._clock.pause_async(MAX_PAUSE_SECONDS)

    async def _cancelled(self, _channel: str, generation_id: str | None) -> None:
        """Hear at once what somebody asks to stop; what is missed, the sweep finds."""
        if generation_id is not None:
            self._cancel(generation_id)

    async def _sweep(self) -> None:
        """Give back what lost workers had, hear of missed cancels, report, finish batches, and forget old events."""
        number = 0
        while True:
            try:
                report, look_at_all = await self._presence.report(), number % SWEEPS_OF_ALL == 0
                requeued, claims = await sweep(self._database, worker=self.name, report=report, look_at_all=look_at_all)
                for generation_id, _, cancelled in claims:
                    if cancelled:
                        self._cancel(generation_id)
                if self._lost is None:  # what ran on a lost device is left to others, as a crash
                    await self._claims.look(claims)
                await BatchLedger(self._database).make_generations()
                if requeued:
                    _logger.warning("Work of lost workers is queued again", extra={"generations": requeued})
                if number % (SWEEPS_OF_ALL * 10) == 0:
                    await tidy(self._database)
            except CineletError as error:
                _logger.info("The sweep failed", extra={"code": error.code})
            number += 1
            await self._clock.pause_async(SWEEP_SECONDS)

    async def _hand_over(self) -> None:
        """Let go of everything: at once what goes on at a provider, later what is sent just now or runs here."""
        end = time.monotonic() + self._grace_seconds
        while self._running:
            late = time.monotonic() > end
            for run in list(self._running.values()):
                handle = run.context.handle
                here = run.generation.queue == LOCAL_QUEUE
                if late or not (here or (handle is not None and handle.get("submitting"))):
                    run.context.hand_over()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self._idle.wait()


def _refuse_poison(run: _Run) -> None:
    crashes = run.generation.crashes
    if crashes >= MAX_CRASHES:
        message = f"{crashes} workers were lost while they worked on this generation, so it is not tried again"
        raise ProcessingError(f"{message}; try another model or a smaller video", "loading")
