"""The variables of OpenTelemetry that a program reads itself; its SDK reads the others."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _is_true(value: object) -> bool:
    """Read a switch as OpenTelemetry does: whatever is not "true" is off."""
    return str(value).strip().lower() == "true"


class TraceVariables(BaseSettings):
    """The variables, as a part of `Config`."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    otel_traces_exporter: str | None = Field(default=None, max_length=100)
    """Where traces go: `otlp`, `console` (stderr) or `none`. Default: `otlp` if an endpoint is set, else `none`."""

    otel_exporter_otlp_endpoint: str | None = None
    """Address of a collector, such as `http://localhost:4318`; traces go to `/v1/traces` there."""

    otel_exporter_otlp_traces_endpoint: str | None = None
    """The same for traces alone, with its whole path."""

    otel_exporter_otlp_protocol: str = "http/protobuf"
    """How a collector is spoken to; `grpc` needs the package `opentelemetry-exporter-otlp-proto-grpc`."""

    otel_traces_sampler: str | None = Field(default=None, max_length=100)
    """Which traces are recorded: a name of the SDK's samplers. Default: all, up to 20 a second of each method."""

    otel_sdk_disabled: Annotated[bool, BeforeValidator(_is_true)] = False
    """Whether nothing is traced, whatever else is set."""

    @property
    def tracing(self) -> dict[str, Any]:
        """What is to be exported, as `exported` takes it."""
        endpoint = self.otel_exporter_otlp_traces_endpoint or self.otel_exporter_otlp_endpoint
        chosen = (self.otel_traces_exporter or ("otlp" if endpoint else "none")).strip().lower()
        off = self.otel_sdk_disabled or chosen == "none"
        return {
            "exporter": None if off else chosen,
            "protocol": self.otel_exporter_otlp_protocol.strip().lower(),
            "sampler": self.otel_traces_sampler or None,
        }
