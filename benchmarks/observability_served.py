"""Our HTTP service with or without what observes it, in a process of its own until SIGTERM, for `observability.py`.

    python benchmarks/observability_served.py 8001 metrics

What is named after the port is on; what is not is taken out of the way of a request. Traces go where OpenTelemetry's
variables say.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import uvicorn
from starlette.types import ASGIApp

import cinelet.api.app
from cinelet.api.head_limit import HeadLimit
from cinelet.config import Config
from cinelet.observability import exporting


def without_metrics() -> None:
    """Let no request be counted: a create is counted there, and nowhere else."""

    def passed_on(app: ASGIApp) -> ASGIApp:
        return app

    vars(cinelet.api.app)["RequestMetrics"] = passed_on


SWITCHES = {"metrics": without_metrics}


async def main(config: Config, port: int, observed: set[str]) -> None:
    """Serve as `cinelet serve` does."""
    for name, without in SWITCHES.items():
        if name not in observed:
            without()
    server = uvicorn.Server(
        uvicorn.Config(
            cinelet.api.app.make_app(config),
            http=HeadLimit,
            host="127.0.0.1",
            port=port,
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
        )
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, lambda: setattr(server, "should_exit", True))
    await server.serve()


if __name__ == "__main__":
    settings = Config()
    with exporting.exported(**settings.tracing, process="serve"):
        asyncio.run(main(settings, int(sys.argv[1]), set(sys.argv[2:])))
