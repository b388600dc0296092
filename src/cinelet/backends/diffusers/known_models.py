"""What models of the Hub are best at, where neither their configuration nor their family tells.

Sources: the models' own pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cinelet.backends.diffusers.card import ModelCard

KNOWN: Mapping[str, Mapping[str, Any]] = {
    "cerspense/zeroscope_v2_576w": {"default_size": (576, 320), "max_frames": 24},
    "cerspense/zeroscope_v2_XL": {"default_size": (1024, 576), "max_frames": 24},
}
"""Fields of a card by the Hub's name. The zeroscopes were trained on 24 frames; their configuration names ms-1.7b's."""


def known_card(reference: str) -> ModelCard:
    """Return the card of a model that comes without one: an empty one for a model that nobody listed.

    reference: as `ModelFolder` has it.
    """
    return ModelCard(**KNOWN.get(reference.partition(":")[2] or reference, {}))
