"""What a block of a test counts: metrics are the process's, and other tests count as well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cinelet.observability import metrics
from cinelet.observability.bounded_names import BoundedNames, ModelNames
from cinelet.observability.metrics import REGISTRY

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples() -> Samples:
    """Return all samples now."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
    }


class Counted:
    """By how much samples grew."""

    def __init__(self) -> None:
        self._before = samples()
        self._after: Samples = {}

    def end(self) -> None:
        self._after = samples()

    def of(self, name: str, **labels: str) -> float:
        """Return by how much the samples with this name and these labels, and any others, grew in sum."""
        wanted = set(labels.items())
        return sum(
            value - self._before.get((found, of), 0.0)
            for (found, of), value in self._after.items()
            if found == name and wanted <= of
        )


@contextmanager
def counting() -> Iterator[Counted]:
    counted = Counted()
    try:
        yield counted
    finally:
        counted.end()


@contextmanager
def fresh_names() -> Iterator[None]:
    """Forget which models and providers are known: other tests of this process may have taken all the room."""
    with pytest.MonkeyPatch.context() as patch:
        providers = BoundedNames(metrics.MAX_PROVIDERS)
        providers.learn(metrics.HERE)
        patch.setattr(metrics, "PROVIDERS", providers)
        patch.setattr(metrics, "MODELS", ModelNames(metrics.MAX_MODELS, providers=providers))
        yield
