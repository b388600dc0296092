"""The providers that can make videos, one file each; a new one is a new file and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cinelet.backends.huggingface.providers.fal_ai import FalAI
from cinelet.backends.huggingface.providers.novita import Novita
from cinelet.backends.huggingface.providers.provider import Job, Provider, Report, State
from cinelet.backends.huggingface.providers.replicate import Replicate
from cinelet.backends.huggingface.providers.together import Together
from cinelet.backends.huggingface.providers.wavespeed import WaveSpeed

__all__ = ["PROVIDERS", "Job", "Provider", "Report", "State"]

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {provider.name: provider for provider in (FalAI(), WaveSpeed(), Together(), Replicate(), Novita())}
)
"""By the name that the Hub gives them."""
