"""A conversation with one engine: create, ask until it is done, fetch the file, cancel."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from cinelet.backends.openai_videos import handle
from cinelet.backends.openai_videos.fields import FormField
from cinelet.backends.openai_videos.handle import Job
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
from cinelet.observability.quoting import host_text
from cinelet.observability.tracing import carrier
from cinelet.transport.download import download
from cinelet.transport.polling import PollSchedule, poll
from cinelet.transport.replies import exchange, json_object, retry_after_seconds
from cinelet.transport.stopping import cancelled_at_host
from cinelet.transport.submission import submission_unknown, submit

SUBMIT_SECONDS = 120.0
"""For sending the request, with an image, and its reply."""
DENOISED = 0.9
"""The fraction of the whole when the file begins to arrive."""
_ENDED = frozenset({"failed", "error", "cancelled", "canceled", "expired", "deleted"})
"""Statuses that no video follows; "completed" is the other end, and any other word means that it goes on."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine. url: with its /v1, as the operator named it. random: draws from 0 to 1."""

    url: str
    token: str | None = field(repr=False)
    client: httpx2.AsyncClient
    clock: Clock
    schedule: PollSchedule
    random: Callable[[], float]
    max_video_bytes: int

    @property
    def host(self) -> str:
        """Who that is, for messages: the host, and its port where it has one of its own."""
        return httpx2.URL(self.url).netloc.decode("ascii")

    async def served_models(self) -> list[str] | None:
        """Return the names of the engine's models, or None where it does not tell."""
        try:
            reply = await exchange(self.client, self._request("GET", "models"))
        except httpx2.RequestError:
            return None
        listed = (json_object(reply) or {}).get("data") if reply.is_success else None
        names = [item.get("id") for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
        return [name for name in names if isinstance(name, str)] or None

    async def create(self, form: Sequence[FormField], *, reference: str, seed: int, context: Context) -> Job:
        """Send the request, once, and save the job; a stop meanwhile cancels it."""
        context.check()
        context.report(Stage.QUEUED, 0.0, measured=False, note=f"asking {self.host}")
        await context.save_handle(handle.submitting(reference, self.host))
        # The reply names what is to be cancelled, so a stop does not end this, but waits for it a little.
        sending = asyncio.ensure_future(self._created(form, reference=reference, seed=seed, context=context))

        async def reply() -> Job:
            return await asyncio.shield(sending)

        async def cancel() -> bool:
            return await self.cancel(await sending)

        async with cancelled_at_host(cancel, context=context):
            return await watched(reply(), context=context)

    async def follow(self, job: Job, *, reference: str, context: Context) -> dict[str, Any]:
        """Ask until the job is done and return the last reply; a stop meanwhile cancels the job."""

        async def fetch() -> httpx2.Response:
            return await exchange(self.client, self._request("GET", job.path))

        async def cancel() -> bool:
            return await self.cancel(job)

        async with cancelled_at_host(cancel, context=context):
            try:
                return await poll(
                    fetch,
                    lambda reply: self._read(reply, job, reference=reference, context=context),
                    context=context,
                    clock=self.clock,
                    what=f"the job of {reference}",
                    provider=self.host,
                    schedule=self.schedule,
                    random=self.random,
                    age_seconds=job.age_seconds(),
                    hint=poll_after_seconds,
                    secrets=[self.token or ""],
                )
            except HuggingFaceAPIError as error:
                if error.status not in {401, 403}:
                    await context.end_handle()
                raise

    async def fetch(self, job: Job, *, reference: str, context: Context) -> Path:
        """Download the video into the context's folder."""
        path = context.folder / "video.mp4"

        def report(done: int, total: int | None) -> None:
            share = done / total if total else 0.5
            fraction = DENOISED + (1 - DENOISED) * min(share, 1.0)
            context.report(Stage.DOWNLOADING, fraction, step=done, steps=total or 0, measured=total is not None)

        await download(
            f"{self.url}/{job.path}/content",
            path,
            client=self.client,
            context=context,
            clock=self.clock,
            max_bytes=self.max_video_bytes,
            headers=self._headers(),
            allow_private=True,  # the operator named this host; a redirect elsewhere gets no such trust
            report=report,
            check_head=require_video,
            what=f"the video of {reference}",
        )
        return name_by_content(path)

    async def cancel(self, job: Job) -> bool:
        """Ask the engine to forget a job; tell whether it is surely over. Some engines cannot (405, 501)."""
        reply = await exchange(self.client, self._request("DELETE", job.path))
        return reply.is_success or reply.status_code in {404, 410}

    async def _created(self, form: Sequence[FormField], *, reference: str, seed: int, context: Context) -> Job:
        try:
            response = await submit(
                self.client,
                # Always multipart, as OpenAI's own client sends it: engines read nothing else.
                self._request("POST", "videos", files=form),
                what=reference,
                provider=self.host,
                timeout_seconds=SUBMIT_SECONDS,
                secrets=[self.token or ""],
            )
        except (SubmissionUnknownError, DeadlineExceededError, GenerationCancelledError):
            raise  # It may have arrived.
        except CineletError:
            await context.save_handle(None)
            raise
        job = handle.job_in(json_object(response) or {}, seed=seed)
        if job is None:
            why = "the reply names no job"
            raise submission_unknown(what=reference, provider=self.host, why=why, response=response)
        await context.save_handle(handle.accepted(reference, self.host, job))
        return job

    def _read(self, reply: dict[str, Any], job: Job, *, reference: str, context: Context) -> dict[str, Any] | None:
        """Pass on the progress; return the reply if the video is there, or raise if it will never be."""
        status = str(reply.get("status")).lower()
        if status in _ENDED:
            raise self._failed(reply, job, status=status, reference=reference)
        percent = 100 if status == "completed" else _percent(reply.get("progress"))
        if percent:
            context.report(Stage.DENOISING, DENOISED * percent / 100, step=percent, steps=100)
        else:
            stage = Stage.QUEUED if status == "queued" else Stage.DENOISING
            context.report(stage, 0.0, measured=False, note=f"{status[:30]} at {self.host}")
        return reply if status == "completed" else None

    def _failed(self, reply: Mapping[str, Any], job: Job, *, status: str, reference: str) -> HuggingFaceAPIError:
        error = reply.get("error")
        code = error.get("code") if isinstance(error, Mapping) else None
        said = host_text(error, secrets=[self.token or ""])
        why = ": ".join(filter(None, (host_text(str(code)) if code else "", said))) or "it does not say why"
        outcome = "failed" if status == "failed" else f"ended it as {status}"
        message = f"{self.host} took the job of {reference} and {outcome}: {why}"
        return HuggingFaceAPIError(message, provider=self.host, request_id=job.id, accepted=True)

    def _request(self, method: str, path: str, *, files: Sequence[FormField] | None = None) -> httpx2.Request:
        # Ours or a colleague's: it may go on with the trace. Providers are neither, and are not told of it.
        headers = {**self._headers(), **carrier()}
        # A list of parts keeps their order; the library calls all of them files, also those without a file name.
        return self.client.build_request(method, f"{self.url}/{path}", headers=headers, files=files)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def _percent(progress: Any) -> int:
    """Return how far a reply says that the job is; 0 where it does not."""
    return min(max(int(progress), 0), 100) if isinstance(progress, (int, float)) and math.isfinite(progress) else 0


def poll_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return when the engine wants to be asked again: `openai-poll-after-ms`, or as any host says it."""
    text = headers.get("openai-poll-after-ms", "").strip()
    return int(text) / 1000 if text.isascii() and text.isdigit() and len(text) < 10 else retry_after_seconds(headers)
