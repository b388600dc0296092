"""What is configured may be named by metrics before anybody asks for it; what is not may not."""

from __future__ import annotations

from cinelet.config import Config
from cinelet.config.labels import know_labels
from cinelet.observability import metrics
from tests.observability.counted import fresh_names


def test_configured_models_and_providers_are_known_from_the_start() -> None:
    config = Config(
        default_text_to_video_model="org/default",
        fallback_text_to_video_models=("org/fallback",),
        cinelet_preload=("local:org/preloaded",),
        cinelet_auto_models=("hf:org/chosen:fal-ai",),
        cinelet_host_tokens={"gpu.example:8443": "secret"},
    )
    known = [
        *("embedded", "auto", "org/default", "hf:org/default:replicate", "org/fallback", "local:org/preloaded"),
        "hf:org/chosen:fal-ai",
    ]
    with fresh_names():
        assert {metrics.MODELS.label(model) for model in known} == {"other"}
        know_labels(config)
        assert [metrics.MODELS.label(model) for model in known] == known
        assert metrics.MODELS.label("org/invented") == "other"
        assert metrics.PROVIDERS.knows("gpu.example:8443")
