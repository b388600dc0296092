"""Where the metrics of a worker can be read."""

from __future__ import annotations

from collections.abc import Callable

from cinelet.config import Config
from cinelet.config.labels import know_labels
from cinelet.domain.condition import Condition
from cinelet.domain.errors import ValidationError
from cinelet.domain.model import ModelReference
from cinelet.observability.condition_metrics import ConditionMetrics
from cinelet.observability.exposition import FORMATS, ProcessMetrics
from cinelet.observability.metrics_link import answer_questions
from cinelet.observability.metrics_port import serve_metrics
from cinelet.resilience import host_of


def show_metrics(look: Callable[[], Condition], config: Config, *, process: str, descriptor: int | None) -> str | None:
    """Show the metrics to whoever started this worker, or at the port that is configured; return that port's address.

    look: says how the worker is. process: its name as a label. descriptor: where the process that started it asks.
    """
    know_labels(config)
    readings = ConditionMetrics(look, provider_of=lambda circuit: host_of(ModelReference.parse(circuit)))
    collector = ProcessMetrics(process, readings)
    if descriptor is not None:
        try:
            answer_questions(descriptor, lambda letter: FORMATS[letter].write(collector))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            message = (
                f"--metrics-fd {descriptor} cannot be used: {why}; leave it to cinelet serve, or use --metrics-port"
            )
            raise ValidationError(message, {"metrics_fd": "Cannot be used"}) from error
        # The port is for workers that somebody else starts: those of one service cannot all have the same one.
        return None
    if config.cinelet_metrics_port is None:
        return None
    return serve_metrics(collector, host=config.cinelet_metrics_host, port=config.cinelet_metrics_port)
