"""A job at a provider, from the request to the file: sent once, saved, asked about, cancelled if abandoned."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from cinelet.backends.huggingface import handle
from cinelet.backends.huggingface.access import Access, ForeignAddressError
from cinelet.backends.huggingface.handle import SavedJob
from cinelet.backends.huggingface.providers import Job, Report, State
from cinelet.clock import Clock, watched
from cinelet.domain.backend import Context
from cinelet.domain.errors import (
    CineletError,
    DeadlineExceededError,
    GenerationCancelledError,
    HuggingFaceAPIError,
    SubmissionUnknownError,
)
from cinelet.domain.progress import Stage
from cinelet.media.video_file import name_by_content, require_video
from cinelet.observability.logs import get_logger
from cinelet.observability.quoting import host_text
from cinelet.transport.addresses import Resolver
from cinelet.transport.download import download
from cinelet.transport.polling import PollSchedule, poll
from cinelet.transport.replies import exchange, json_object, request_id_of
from cinelet.transport.stopping import cancelled_at_host
from cinelet.transport.submission import submission_unknown, submit

MAX_AT_ONCE = 8
"""Of each kind of short request; what a host holds until the video is done has no such limit."""
MAX_DOWNLOADS_AT_ONCE = 16
"""More would share the same wire, and each has a connection that the pool looks at with every request."""
SUBMIT_SECONDS = 120.0
"""For the reply of a host that queues; one that holds the request has all the time that the context has."""
TYPICAL_SECONDS = 60.0
"""What a job is guessed to take half of its progress in, where the host does not say how far it is."""
WAITED, DENOISED = 0.05, 0.9
"""Fractions of the whole when a job leaves the queue, and when the file begins to arrive."""
_NOT_THE_JOBS = frozenset({401, 403, 404, 408, 425, 429, 502, 503, 504})
"""Statuses of a result that say nothing about the job, unless the body does."""

_Found = TypeVar("_Found")
_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Line:
    """What the jobs of a backend share: the client, and how long and how much. random: draws from 0 to 1.

    starting, submitting, asking, downloading: through which each step of a job goes, so that hundreds neither fill one
    turn of the event loop nor keep a connection each.
    """

    client: httpx2.AsyncClient
    clock: Clock
    random: Callable[[], float]
    schedule: PollSchedule
    resolve: Resolver
    max_video_bytes: int
    starting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_AT_ONCE))
    submitting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_AT_ONCE))
    asking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_AT_ONCE))
    downloading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_DOWNLOADS_AT_ONCE))


@dataclass(frozen=True, slots=True)
class JobRun:
    """One job. reference: the model as the caller named it."""

    line: Line
    reference: str
    access: Access
    context: Context

    @property
    def host(self) -> str:
        """The provider's name."""
        return self.access.provider.name

    async def submit(self, request: httpx2.Request, *, provider_model: str, seed: int | None) -> SavedJob:
        """Send the request, once, and save what the provider gave; a stop meanwhile cancels the job."""
        self.context.report(Stage.QUEUED, 0.0, measured=False, note=f"asking {self.host}")
        if self.access.provider.holds_request:
            request.extensions = {**request.extensions, "timeout": {**request.extensions["timeout"], "read": None}}
            self.context.report(Stage.DENOISING, WAITED, measured=False, note=f"{self.host} works, and tells no more")
            return await self._sent(request, provider_model, seed, context=self.context)
        # The reply names what is to be cancelled, so a stop does not end this, but waits for it a little.
        sending = asyncio.ensure_future(self._sent_in_turn(request, provider_model, seed))

        async def reply() -> SavedJob:
            return await asyncio.shield(sending)

        async def cancel() -> bool:
            return await self._cancel((await sending).job)

        async with cancelled_at_host(cancel, context=self.context):
            return await watched(reply(), context=self.context)

    async def follow(self, saved: SavedJob) -> str:
        """Ask about a job until it is done and return where the video is; a stop meanwhile cancels the job."""
        job = saved.job
        if job.video_url is not None or job.status_url is None:
            return job.video_url or ""

        async def cancel() -> bool:
            return await self._cancel(job)

        async with cancelled_at_host(cancel, context=self.context):
            try:
                report = await self._report(job.status_url, age_seconds=saved.age_seconds())
                if report.state is State.FAILED:
                    raise self._failed(job, host_text(report.error, secrets=[self.access.secret]))
                if job.result_url is None:
                    return report.video_url or self._no_video(job)
                return await self._poll(self._result_fetcher(job, job.result_url), self._result(job))
            except HuggingFaceAPIError as error:
                if error.accepted and error.status not in {401, 403}:
                    await self.context.end_handle()
                raise

    async def fetch(self, video_url: str) -> Path:
        """Download the video into the context's folder."""
        return await watched(self._fetched_in_turn(video_url), context=self.context)

    async def _fetched_in_turn(self, video_url: str) -> Path:
        path = self.context.folder / "video.mp4"

        def report(done: int, total: int | None) -> None:
            share = done / total if total else 0.5
            self.context.report(
                Stage.DOWNLOADING,
                DENOISED + (1 - DENOISED) * min(share, 1.0),
                step=done,
                steps=total or 0,
                measured=total is not None,
            )

        self.context.report(Stage.DOWNLOADING, DENOISED, measured=False)
        async with self.line.downloading:
            await download(
                video_url,
                path,
                client=self.line.client,
                context=self.context,
                clock=self.line.clock,
                max_bytes=self.line.max_video_bytes,
                resolve=self.line.resolve,
                report=report,
                check_head=require_video,
                what=f"the video of {self.reference}",
            )
        return name_by_content(path)

    async def _sent_in_turn(self, request: httpx2.Request, provider_model: str, seed: int | None) -> SavedJob:
        async with self.line.submitting:
            return await self._sent(request, provider_model, seed, timeout_seconds=SUBMIT_SECONDS)

    async def _sent(
        self,
        request: httpx2.Request,
        provider_model: str,
        seed: int | None,
        *,
        context: Context | None = None,
        timeout_seconds: float | None = None,
    ) -> SavedJob:
        """Send and save. context: whose stop ends the wait."""
        self.context.check()
        await self.context.save_handle(handle.submitting(self.reference, self.host))
        try:
            response = await submit(
                self.line.client,
                request,
                what=self.reference,
                provider=self.host,
                timeout_seconds=timeout_seconds,
                context=context,
                secrets=[self.access.secret],
            )
        except (SubmissionUnknownError, DeadlineExceededError, GenerationCancelledError):
            raise  # It may have arrived.
        except CineletError:
            await self.context.save_handle(None)
            raise
        job = self._job(response, url=str(request.url.copy_with(query=None)))
        saved = SavedJob(job, self.access, provider_model, seed, request_id_of(response.headers))
        await self.context.save_handle(handle.accepted(self.reference, saved))
        _logger.info("A provider took a job", extra={"provider": self.host, "job": job.id, "model": self.reference})
        return saved

    def _job(self, response: httpx2.Response, *, url: str) -> Job:
        """Read the reply to a submission, and check the addresses in it."""
        job = self.access.provider.job(json_object(response) or {}, url=url)
        why = "the reply names no job"
        if job is not None:
            try:
                for address in filter(None, (job.status_url, job.result_url, job.cancel_url)):
                    self.access.url(address)
            except ForeignAddressError as error:
                why = f"the reply leads elsewhere ({error})"
            else:
                return job
        raise submission_unknown(what=self.reference, provider=self.host, why=why, response=response)

    def _fetcher(self, address: str) -> Callable[[], Awaitable[httpx2.Response]]:
        # Built once: what is asked a hundred times is the same.
        request = self.line.client.build_request("GET", self.access.url(address), headers=self.access.headers())

        async def fetch() -> httpx2.Response:
            async with self.line.asking:
                return await exchange(self.line.client, request)

        return fetch

    def _result_fetcher(self, job: Job, address: str) -> Callable[[], Awaitable[httpx2.Response]]:
        """Fetch a result; a job that failed has its error there, with the error's status."""
        fetch = self._fetcher(address)

        async def checked() -> httpx2.Response:
            response = await fetch()
            said = json_object(response) or {}
            about_the_job = "error_type" in said or "x-fal-error-type" in response.headers
            refused = response.status_code >= 400 and (about_the_job or response.status_code not in _NOT_THE_JOBS)
            if refused and (said.get("detail") or said.get("error")):
                raise self._failed(job, host_text(said, secrets=[self.access.secret]), response=response)
            return response

        return checked

    async def _report(self, address: str, *, age_seconds: float) -> Report:
        """Ask until a job is over."""
        try:
            return await self._poll(self._fetcher(address), self._progress(), age_seconds=age_seconds)
        except HuggingFaceAPIError as error:
            if not self.access.routed or error.status not in {404, 405, 501}:
                raise
            hint = f"perhaps the router does not pass on questions about {self.host}'s jobs"
            raise HuggingFaceAPIError(
                f"{error}; {hint}: set {self.access.provider.key_variable}",
                status=error.status,
                provider=self.host,
                request_id=error.request_id,
                accepted=True,
            ) from error

    async def _poll(
        self,
        fetch: Callable[[], Awaitable[httpx2.Response]],
        read: Callable[[dict[str, Any]], _Found | None],
        *,
        age_seconds: float | None = None,
    ) -> _Found:
        return await poll(
            fetch,
            read,
            context=self.context,
            clock=self.line.clock,
            what=f"the job of {self.reference}",
            provider=self.host,
            schedule=self.line.schedule,
            random=self.line.random,
            age_seconds=age_seconds,
        )

    def _progress(self) -> Callable[[Mapping[str, Any]], Report | None]:
        """Read what the provider says, and pass it on as progress."""
        began: float | None = None

        def read(reply: Mapping[str, Any]) -> Report | None:
            nonlocal began
            report = self.access.provider.report(reply)
            match report.state:
                case State.QUEUED:
                    ahead = "" if report.position is None else f", {report.position} ahead"
                    self.context.report(
                        Stage.QUEUED, WAITED / 2, measured=False, note=f"in the queue of {self.host}{ahead}"
                    )
                case State.RUNNING:
                    now = self.line.clock.monotonic()
                    began = now if began is None else began
                    share = (now - began) / (now - began + TYPICAL_SECONDS)
                    if report.steps:
                        share = report.step / report.steps
                    self.context.report(
                        Stage.DENOISING,
                        WAITED + (DENOISED - WAITED) * share,
                        step=report.step,
                        steps=report.steps,
                        measured=bool(report.steps),
                    )
                case State.DONE | State.FAILED:
                    return report
            return None

        return read

    def _result(self, job: Job) -> Callable[[Mapping[str, Any]], str]:
        return lambda reply: self.access.provider.video_url(reply) or self._no_video(job)

    async def _cancel(self, job: Job) -> bool:
        """Cancel a job at its provider; tell whether it is surely over."""
        if job.cancel_url is None:
            return False
        request = self.line.client.build_request(
            self.access.provider.cancel_method, self.access.url(job.cancel_url), headers=self.access.headers()
        )
        response = await exchange(self.line.client, request)
        # 400 and 404: it was over already.
        return response.is_success or response.status_code in {400, 404}

    def _no_video(self, job: Job) -> str:
        raise self._failed(job, "it is done, and names no video")

    def _failed(self, job: Job, why: str, *, response: httpx2.Response | None = None) -> HuggingFaceAPIError:
        return HuggingFaceAPIError(
            f"{self.host} took the job of {self.reference} and failed: {why or 'it does not say why'}",
            status=None if response is None else response.status_code,
            provider=self.host,
            request_id=job.id or (request_id_of(response.headers) if response is not None else None),
            accepted=True,
        )
