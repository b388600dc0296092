"""Metrics as a scraper reads them: those of a process, and those of several as one answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from cinelet.observability.metrics import REGISTRY

_PROCESS = ProcessCollector(registry=None)
_FAMILY = re.compile(rb"^# HELP (\S+).*\n(?:# .*\n)*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Format:
    """How metrics are written. letter: asks another process for it. end: of a whole answer."""

    letter: bytes
    content_type: str
    write: Callable[[Collector], bytes]
    end: bytes = b""


PLAIN = Format(b"p", CONTENT_TYPE_PLAIN_0_0_4, generate_latest)
OPENMETRICS = Format(b"o", openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest, b"# EOF\n")
FORMATS = {each.letter: each for each in (PLAIN, OPENMETRICS)}


def format_for(accept: str) -> Format:
    """Return the format that the header `Accept` asks for."""
    _, content_type = choose_encoder(accept)
    return OPENMETRICS if content_type.startswith("application/openmetrics-text") else PLAIN


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
    """Metrics that were read before."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._families


def together(texts: Iterable[bytes], written: Format) -> bytes:
    """Return what several processes wrote in a format as one answer: each family once, with the samples of all.

    The texts are not read into samples and written anew: that takes ten times as long, and the event loop waits for it.
    """
    heads: dict[bytes, bytes] = {}
    samples: dict[bytes, list[bytes]] = {}
    for text in texts:
        found = list(_FAMILY.finditer(text))
        ends = [*(following.start() for following in found[1:]), len(text) - len(written.end)]
        for family, end in zip(found, ends, strict=bool(found)):
            heads.setdefault(family[1], family[0])
            samples.setdefault(family[1], []).append(text[family.end() : end])
    return b"".join(part for name, head in heads.items() for part in (head, *samples[name])) + written.end
