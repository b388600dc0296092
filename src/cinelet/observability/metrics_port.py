"""A port that serves the metrics of this process, from a thread: a worker has no other HTTP interface."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector

from cinelet.domain.errors import ValidationError


def serve_metrics(collector: Collector, *, host: str, port: int) -> str:
    """Serve until the process ends, and return the address. port: 0 for a free one. Raises `ValidationError`."""
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(collector)
    try:
        server, _ = start_http_server(port, host, registry)
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no name of a host"
        message = f"{host}:{port} cannot be listened on for metrics: {why}"
        todo = "choose another port with --metrics-port, or another address with CINELET_METRICS_HOST"
        raise ValidationError(f"{message}; {todo}", {"metrics_port": "Cannot be listened on"}) from error
    bound = server.server_address
    return f"http://{f'[{bound[0]!s}]' if ':' in str(bound[0]) else bound[0]!s}:{bound[1]}/metrics"
