"""`/healthz` and `/readyz`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from cinelet.api.state import Jobs
from cinelet.domain.errors import CineletError
from cinelet.jobs.engine import STALLED_SECONDS

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Something is missing"}})
async def ready(jobs: Jobs) -> JSONResponse:
    """Say whether database and store answer, and how many workers there are; 503 where something is missing."""
    checks: dict[str, Any] = {}
    try:
        checks["workers"] = await jobs.workers(seen_within_seconds=STALLED_SECONDS)
        checks["database"] = "ok"
    except CineletError as error:
        checks["database"] = error.code
    try:
        await jobs.store.listed("ready")
        checks["storage"] = "ok"
    except CineletError as error:
        checks["storage"] = error.code
    good = checks["database"] == checks["storage"] == "ok" and checks["workers"] > 0
    return JSONResponse({"status": "ok" if good else "not ready", "checks": checks}, 200 if good else 503)
