"""Which models and providers metrics may name from the start: the configured ones."""

from __future__ import annotations

from itertools import chain

from cinelet.config.settings import EMBEDDED_MODEL, PROVIDER_KEYS, Config
from cinelet.observability import metrics


def know_labels(config: Config) -> None:
    """Let what is configured be labels, before anybody asks for anything."""
    listed = (config.cinelet_preload, config.cinelet_auto_models)
    models = chain(config.default_models.values(), *config.fallback_models.values(), *listed)
    metrics.know(models=[EMBEDDED_MODEL, "auto", *models], providers=[*PROVIDER_KEYS, *config.cinelet_host_tokens])
