"""`/metrics`: what Prometheus scrapes. For administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response

from cinelet.api.access import CallerWith
from cinelet.api.service_metrics import ServiceMetrics
from cinelet.jobs.keys import Role

router = APIRouter(tags=["admin"], dependencies=[Depends(CallerWith(Role.ADMIN))])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def show_metrics(request: Request, accept: Annotated[str, Header()] = "") -> Response:
    """Return the metrics of this process, of the workers that it has started, and of the queues, as text."""
    metrics: ServiceMetrics = request.app.state.metrics
    content, content_type = await metrics.written(accept=accept)
    return Response(content, media_type=content_type)
