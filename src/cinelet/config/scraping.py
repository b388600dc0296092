"""The settings of who may read metrics from where."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ScrapingVariables(BaseSettings):
    """The variables, as a part of `Config`."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    cinelet_metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """Port where `cinelet worker` serves its metrics, 0 for a free one. Default: none."""

    cinelet_metrics_host: str = "127.0.0.1"
    """Address of that port. Whoever reaches it reads the metrics without a key."""
