"""The settings of how a model is chosen among several."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from cinelet.config.values import References
from cinelet.domain.request import Strategy


def _lower(value: object) -> object:
    return value.strip().lower().replace("-", "_") if isinstance(value, str) else value


class SelectionVariables(BaseSettings):
    """The variables, as a part of `Config`."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    cinelet_auto_models: References = ()
    """Models that `auto` chooses among, separated by commas. Default: the task's default model and its fallbacks."""

    cinelet_strategy: Annotated[Strategy, BeforeValidator(_lower)] = "ordered"
    """Order of models if a request says nothing: `ordered`, `fastest`, `most_reliable`, `cheapest` or `balanced`."""

    cinelet_performance_half_life: float = Field(default=6 * 3600, ge=60, le=30 * 86_400)
    """Seconds in which what is known of a model's performance counts for half."""
