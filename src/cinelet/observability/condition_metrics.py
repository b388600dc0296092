"""What a backend has loaded, on which device, and whom it leaves alone: asked when somebody scrapes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cinelet.domain.condition import Condition
from cinelet.observability import metrics

_CIRCUIT_STATES = ("open", "probing", "closed")
_SIZES = ("total", "free", "allocated", "reserved")


class ConditionMetrics(Collector):
    """look: returns the condition at once, from any thread. provider_of: names who is behind a circuit."""

    def __init__(self, look: Callable[[], Condition], *, provider_of: Callable[[str], str | None]) -> None:
        self._look = look
        self._provider_of = provider_of
        self._providers: set[str] = set()

    def collect(self) -> Iterator[Metric]:
        """Read the condition."""
        condition = self._look()
        # Summed: several may have the same label, where that is `other`.
        circuits: dict[tuple[str, ...], float] = defaultdict(float)
        for circuit in condition.circuits:
            circuits[self._provider(circuit.name), circuit.state] += 1
        self._providers |= {provider for provider, _ in circuits}
        # A circuit that has closed says so: a series that ends would look open to its last reader for a while.
        every = [(provider, state) for provider in sorted(self._providers) for state in _CIRCUIT_STATES]
        yield metrics.CIRCUITS.family({labels: circuits[labels] for labels in every})
        memory: dict[tuple[str, ...], float] = defaultdict(float)
        for model in condition.models:
            label = metrics.MODELS.label(model.model)
            memory[label, "estimated"] += model.estimated_bytes or 0
            memory[label, "real"] += model.bytes or 0
        yield metrics.MODEL_MEMORY.family(memory)
        device = condition.device
        sizes = {kind: getattr(device, f"{kind}_bytes") for kind in _SIZES}
        known: dict[tuple[str, ...], float] = {
            (device.name or "", kind): size for kind, size in sizes.items() if size is not None
        }
        yield metrics.DEVICE_MEMORY.family(known)

    def _provider(self, circuit: str) -> str:
        return metrics.PROVIDERS.label_of_known(self._provider_of(circuit) or metrics.HERE)
