"""Metrics as a scraper reads them: those of a process, and those of several as one answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from cinelet.observability.metrics import REGISTRY

_PROCESS = ProcessCollector(registry=None)


class ProcessMetrics(Collector):
    """The metrics of this process, each with the label `process`. readings: what is asked at each scrape."""

    def __init__(self, process: str, *readings: Collector) -> None:
        self._process = process
        self._collectors = (REGISTRY, _PROCESS, *readings)

    def collect(self) -> Iterator[Metric]:
        """Read everything now."""
        for collector in self._collectors:
            for family in collector.collect():
                # When a series began, OpenMetrics would have of each: twice as many series, which nobody asks for.
                family.samples = [
                    sample._replace(labels={"process": self._process, **sample.labels})
                    for sample in family.samples
                    if not sample.name.endswith("_created")
                ]
                yield family


class Families(Collector):
    """Families of metrics from several processes; those of one name become one."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._by_name: dict[str, Metric] = {}
        for family in families:
            known = self._by_name.setdefault(family.name, family)
            if known is not family and known.type == family.type:
                known.samples.extend(family.samples)

    def collect(self) -> Iterable[Metric]:
        """Return each family once."""
        return self._by_name.values()


def as_text(collector: Collector) -> bytes:
    """Write metrics so that `read` understands them."""
    return generate_latest(collector)


def read(text: bytes) -> list[Metric]:
    """Return the families that another process wrote."""
    return list(text_string_to_metric_families(text.decode("utf-8")))


def written(collector: Collector, *, accept: str) -> tuple[bytes, str]:
    """Write metrics in the format that the header `Accept` asks for; return them with their content type."""
    encoder, content_type = choose_encoder(accept)
    return encoder(collector), content_type
