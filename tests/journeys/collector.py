"""A collector of traces, as small as can be: OTLP over HTTP in, spans out."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Collected:
    """A span as it arrived. links: the ids of the spans that it refers to."""

    name: str
    process: str
    pid: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    start: int
    end: int
    facts: dict[str, Any]


class Collector:
    """Listens on a free port while it is entered."""

    def __init__(self) -> None:
        self.spans: list[Collected] = []
        self.raw = b""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                collector.take(body)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def take(self, body: bytes) -> None:
        """Read what one process has sent."""
        self.raw += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = _facts(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [
                    Collected(
                        span.name,
                        about["cinelet.process"],
                        about["service.instance.id"],
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        tuple(link.span_id.hex() for link in span.links),
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        _facts(span.attributes),
                    )
                    for span in scope.spans
                ]

    def named(self, name: str, trace_id: str) -> list[Collected]:
        """Return the spans of a trace with a name, the earliest first."""
        found = [span for span in self.spans if (span.name, span.trace_id) == (name, trace_id)]
        return sorted(found, key=lambda span: span.start)


def _facts(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
