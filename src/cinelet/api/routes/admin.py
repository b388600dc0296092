"""`/v1/admin`: what waits, who works, who may ask, and what failed. For administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from cinelet.api.access import CallerWith
from cinelet.api.admin_view import (
    FailureList,
    FailureView,
    KeyList,
    QueueView,
    WorkerList,
    key_view,
    queue_view,
    worker_view,
)
from cinelet.api.state import Jobs, keys_of
from cinelet.jobs.failures import failures
from cinelet.jobs.keys import Keys, Role
from cinelet.jobs.load import queue_load
from cinelet.jobs.usage import used_within_a_day

MAX_HOURS = 24 * 31

router = APIRouter(prefix="/v1/admin", tags=["admin"], dependencies=[Depends(CallerWith(Role.ADMIN))])


@router.get("/queue")
async def show_queue(jobs: Jobs) -> QueueView:
    """Say how much waits and runs, of all owners."""
    return queue_view(await queue_load(jobs.database), max_waiting=jobs.queue.max_waiting)


@router.get("/workers")
async def list_workers(jobs: Jobs) -> WorkerList:
    """List the workers that were heard of within 30 seconds, on whatever machine."""
    return WorkerList(data=[worker_view(worker) for worker in await jobs.roster.list()])


@router.get("/keys")
async def list_keys(jobs: Jobs, keys: Annotated[Keys, Depends(keys_of)]) -> KeyList:
    """List the keys, also those that were revoked, the newest first, and what their owners asked for in 24 hours."""
    known = await keys.list()
    async with jobs.database.connection() as connection:
        used = await used_within_a_day(connection, sorted({key.owner for key in known}))
    return KeyList(data=[key_view(key, used.get(key.owner), currency=jobs.queue.costs.currency) for key in known])


@router.get("/failures")
async def list_failures(jobs: Jobs, hours: Annotated[int, Query(ge=1, le=MAX_HOURS)] = 24) -> FailureList:
    """List what failed within the last hours by code and model, the most frequent first, a hundred at most."""
    return FailureList(
        data=[
            FailureView(
                code=kind.code,
                model=kind.model,
                count=kind.count,
                last_at=kind.last_at.timestamp(),
                message=kind.message,
                generation_id=kind.generation_id,
            )
            for kind in await failures(jobs.database, hours=hours)
        ]
    )
