"""The application: routes, errors, limits and request ids around the durable jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline

from cinelet.api.access import Access
from cinelet.api.body_limit import FIELDS_BYTES, BodyLimit
from cinelet.api.errors import REPLIES, answer_errors
from cinelet.api.known_query import require_known_query
from cinelet.api.open_models import OpenModels
from cinelet.api.own_redirect import OwnRedirect
from cinelet.api.request_id import RequestId
from cinelet.api.request_metrics import RequestMetrics
from cinelet.api.request_trace import RequestTrace
from cinelet.api.routes import (
    admin,
    batches,
    caller,
    estimate,
    events,
    generations,
    health,
    image_to_video,
    metrics,
    models,
    orders,
    page,
    stats,
    text_to_video,
    videos,
    webhooks,
)
from cinelet.api.service_metrics import ServiceMetrics, Workers
from cinelet.api.state import State
from cinelet.assembly import durable_jobs
from cinelet.clock import Clock
from cinelet.config import Config
from cinelet.config.labels import know_labels
from cinelet.jobs.keys import Keys

DATABASE_CONNECTIONS = 20
_BASE64 = 4 / 3


def make_app(
    config: Config, *, open_to_all: bool = False, clock: Clock | None = None, workers: Workers | None = None
) -> FastAPI:
    """Return the application; the database and the store are opened when it starts. open_to_all: without keys.

    workers: those beside this process, whose metrics are shown with its own.
    """
    know_labels(config)

    @asynccontextmanager
    async def opened(app: FastAPI) -> AsyncIterator[None]:
        async with durable_jobs(config, max_connections=DATABASE_CONNECTIONS) as jobs:
            app.state.cinelet = State(config, jobs, OpenModels(config))
            app.state.keys = Keys(jobs.database, clock=clock)
            app.state.metrics = ServiceMetrics(config, jobs.database, workers=workers)
            yield

    app = FastAPIOffline(
        title="cinelet",
        version=version("cinelet"),
        description="Videos from a prompt or an image, with any Hugging Face video model.",
        lifespan=opened,
        redoc_url=None,
        static_url="/docs/files",
        responses=REPLIES,
        dependencies=[Depends(require_known_query)],
        # FastAPI's own would record what was searched for, and say nothing where nobody records.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    answer_errors(app)
    # Routes are tried in order: what is asked most comes first.
    asked_most = (videos, generations, events, text_to_video, image_to_video)
    for routes in (
        *asked_most,
        estimate,
        batches,
        webhooks,
        models,
        stats,
        caller,
        admin,
        orders,
        metrics,
        health,
        page,
    ):
        app.include_router(routes.router)
    app.add_middleware(OwnRedirect)
    app.add_middleware(BodyLimit, max_bytes=round(config.max_image_size * _BASE64) + FIELDS_BYTES)
    app.add_middleware(Access, open_to_all=open_to_all, clock=clock)
    app.add_middleware(RequestId)
    app.add_middleware(RequestMetrics)
    app.add_middleware(RequestTrace)
    return app
