"""Sends spans away, as the variables of OpenTelemetry say; only programs do so, never the library.

The SDK reads its variables itself: those of samplers, batches, limits and of the exporter. Here is what it leaves to
programs: whether there is an exporter, how the service is called, and what is recorded where no sampler is named.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Any

from cinelet.observability.logs import get_logger

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

FLUSH_SECONDS = 2.0
"""How long the end of a process may wait for its last spans to be sent."""
_EXPORTERS = "opentelemetry_traces_exporter"
_logger = get_logger(__name__)


@contextmanager
def exported(*, exporter: str | None, protocol: str, process: str, sampler: str | None) -> Iterator[None]:
    """Export spans while this is entered, and the last ones within a bound at the end.

    exporter: names as in `OTEL_TRACES_EXPORTER`, None for none. protocol: that of `otlp`. process: the command.
    sampler: as in `OTEL_TRACES_SAMPLER`, which the SDK reads; None for ours.

    Does nothing where somebody has set up a provider before. What is in the way is a line of the log and no error:
    nothing fails for want of a trace.
    """
    provider = None if exporter is None else _provider(exporter, protocol=protocol, process=process, sampler=sampler)
    if provider is None:
        yield
        return
    try:
        yield
    finally:
        # In a thread of its own: it would wait for a collector that is away for longer than anybody wants to.
        last = threading.Thread(target=provider.shutdown, name="cinelet-last-spans", daemon=True)
        last.start()
        last.join(FLUSH_SECONDS)


def _provider(names: str, *, protocol: str, process: str, sampler: str | None) -> TracerProvider | None:
    """Return the provider that is set up now; None where there is another one, or where none can be."""
    from opentelemetry import trace

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    if not all(importlib.util.find_spec(f"opentelemetry.{part}") for part in ("sdk", "exporter")):
        _logger.warning("Traces are asked for, and cannot be exported; install with: pip install 'cinelet[tracing]'")
        return None
    try:
        exporters = [_exporter(name.strip(), protocol=protocol) for name in names.split(",")]
    except Exception as error:  # noqa: BLE001  (anybody's code, with variables that we do not read)
        facts = {"exporter": names, "reason": f"{type(error).__name__}: {error}"}
        _logger.warning("Traces cannot be exported", extra=facts)
        return None
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from cinelet.observability.sampling import paced

    ours = {"service.name": "cinelet", "service.version": version("cinelet"), "cinelet.process": process}
    # What the environment says wins: an operator names his services.
    resource = Resource.create(ours).merge(OTELResourceDetector().detect())
    provider = TracerProvider(sampler=None if sampler else paced(), resource=resource, shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider


def _exporter(wanted: str, *, protocol: str) -> Any:
    """Return an exporter by its name; raises `ValueError` where it is not installed."""
    if wanted == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)  # what commands print is on the other stream
    name = f"otlp_proto_{protocol.partition('/')[0]}" if wanted == "otlp" else wanted
    found = next(iter(entry_points(group=_EXPORTERS, name=name)), None)
    if found is None:
        raise ValueError(f"no exporter {name} is installed")
    return found.load()()
