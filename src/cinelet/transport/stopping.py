"""A cancel and a deadline end any wait; and the job at the host, so that it does not go on to be billed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2

from cinelet.domain.backend import Context
from cinelet.domain.errors import CineletError, DeadlineExceededError, GenerationCancelledError
from cinelet.observability.logs import get_logger

CANCEL_TIMEOUT_SECONDS = 5.0
"""How long a cancel waits for the host to confirm."""
LATE_CANCEL_TIMEOUT_SECONDS = 0.5
"""The same after a deadline, beyond which nothing may last a second; the host has then been asked all the same."""

_logger = get_logger(__name__)


@asynccontextmanager
async def cancelled_at_host(cancel: Callable[[], Awaitable[bool]], *, context: Context) -> AsyncIterator[None]:
    """Cancel an accepted job at its host where this block is stopped by a cancel or a deadline, then let that go on.

    A job that is handed over goes on there.

    cancel: asks the host once, and says whether the job is surely over; the saved handle then says so. It may
    raise `httpx2.RequestError` and `CineletError`: a host that cannot cancel is no news to somebody who has left.
    """
    try:
        yield
    except (GenerationCancelledError, DeadlineExceededError, asyncio.CancelledError) as stop:
        if isinstance(stop, asyncio.CancelledError):
            context.cancel()
        if context.handed_over:
            raise
        late = isinstance(stop, DeadlineExceededError)
        timeout_seconds = LATE_CANCEL_TIMEOUT_SECONDS if late else CANCEL_TIMEOUT_SECONDS
        # A second cancel of the waiting task must not leave the job behind.
        asking = asyncio.ensure_future(_ask(cancel, context=context, timeout_seconds=timeout_seconds))
        try:
            await asyncio.shield(asking)
        except asyncio.CancelledError:
            await asyncio.wait({asking})
            raise
        raise


async def _ask(cancel: Callable[[], Awaitable[bool]], *, context: Context, timeout_seconds: float) -> None:
    try:
        async with asyncio.timeout(timeout_seconds):
            over = await cancel()
    except (httpx2.RequestError, CineletError, TimeoutError) as error:
        _logger.info("A job could not be cancelled at its host", extra={"reason": type(error).__name__})
        return
    if over:
        await context.end_handle()
