"""Every metric, declared in one place, and what counts it: one line where something happens.

What a process can be asked at any time is declared here as well, as a `reading`, and read when somebody scrapes. Labels
are bounded: see `bounded_names.py`. Nothing here holds a prompt, an owner, an id or a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily

from cinelet.domain.video import VideoResult
from cinelet.observability.bounded_names import OTHER, BoundedNames, ModelNames

MAX_MODELS, MAX_PROVIDERS, MAX_NAMES = 50, 20, 100
HERE = "local"
"""The provider of what runs in a process of ours."""

REGISTRY = CollectorRegistry()
"""Of this program alone: a program that uses the library has its own."""
PROVIDERS = BoundedNames(MAX_PROVIDERS)
PROVIDERS.learn(HERE)
MODELS = ModelNames(MAX_MODELS, providers=PROVIDERS)
_ROUTES, _CODES, _STAGES = BoundedNames(MAX_NAMES), BoundedNames(MAX_NAMES), BoundedNames(MAX_NAMES)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WORK_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1800)


@dataclass(frozen=True, slots=True)
class Metric:
    """What is told of a metric. name: as Prometheus stores it, a histogram's without `_bucket`, `_sum` and `_count`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    description: str

    def family(self, readings: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
        """Return what was read, by the values of the labels."""
        family = GaugeMetricFamily(self.name, self.description, labels=self.labels)
        for labels, value in readings.items():
            family.add_metric(labels, value)
        return family


DECLARED: dict[str, Metric] = {}
"""All metrics by name. Whoever shows them adds the label `process`."""


def _declare(metric: Metric) -> Metric:
    DECLARED[metric.name] = metric
    return metric


def _counter(name: str, description: str, *labels: str) -> Counter:
    _declare(Metric(name, "counter", labels, description))
    return Counter(name, description, labels, registry=REGISTRY)


def _gauge(name: str, description: str) -> Gauge:
    _declare(Metric(name, "gauge", (), description))
    return Gauge(name, description, registry=REGISTRY)


def _histogram(name: str, description: str, *labels: str, buckets: Iterable[float] = _WORK_SECONDS) -> Histogram:
    _declare(Metric(name, "histogram", labels, description))
    return Histogram(name, description, labels, registry=REGISTRY, buckets=tuple(buckets))


def _reading(name: str, description: str, *labels: str) -> Metric:
    return _declare(Metric(name, "gauge", labels, description))


_REQUESTS = _counter(
    "cinelet_http_requests_total",
    "HTTP requests by route template, method and class of the reply's status",
    *("method", "route", "status"),
)
_REQUEST_TIME = _histogram(
    "cinelet_http_request_seconds",
    "Time until the reply of a request began",
    *("method", "route"),
    buckets=_REQUEST_SECONDS,
)
_HTTP_ERRORS = _counter("cinelet_http_errors_total", "Replies that were errors, by the error's code", "code")

GENERATIONS = _reading("cinelet_generations", "Generations that are queued or in progress", "queue", "state")
OLDEST_WAIT = _reading("cinelet_queue_oldest_wait_seconds", "How long the first of a queue has waited", "queue")
WORKERS = _reading("cinelet_workers", "Workers of a queue that were heard of within 30 seconds", "queue")
_WAITS = _histogram("cinelet_queue_wait_seconds", "Time from when a generation was due until its first start", "queue")
_ENDED = _counter("cinelet_generations_ended_total", "Generations that ended, by how", "queue", "state")
_FAILED = _counter("cinelet_generation_errors_total", "Generations that failed, by the error's code", "model", "code")
_ATTEMPTS = _counter(
    "cinelet_attempts_total",
    "Tries of a model, by its outcome: `succeeded`, or the error's code",
    *("model", "provider", "outcome"),
)
_FALLBACKS = _counter("cinelet_fallbacks_total", "Videos that another model made than the one named", "model", "used")
_CHOICES = _counter("cinelet_choices_total", "Times that a strategy put a model first", "model", "strategy")

_STAGE_TIME = _histogram("cinelet_stage_seconds", "Time of a stage of one generation", "model", "stage")
_STEP_TIME = _histogram("cinelet_step_seconds", "Mean time of a denoising step of one local generation", "model")
_MAKING_TIME = _histogram("cinelet_making_seconds", "Time to make a video, without its wait in the queue", "model")
_PACE = _histogram(
    "cinelet_seconds_per_video_second", "Time to make a video, for each second that the video lasts", "model"
)
_VIDEOS = _counter("cinelet_videos_total", "Videos that were made", "model")
_VIDEO_SECONDS = _counter("cinelet_video_seconds_total", "Seconds of video that were made", "model")
_VIDEO_BYTES = _counter("cinelet_video_bytes_total", "Bytes of the videos that were made", "model")
_COST = _counter("cinelet_cost_total", "What the videos cost by the price table", *("model", "provider", "currency"))

_SUBMITS = _counter(
    "cinelet_provider_submits_total",
    "Requests for a video sent to a provider: `accepted`, `refused`, `unsent`, or `unknown` where no answer came",
    *("provider", "outcome"),
)
_POLLS = _counter(
    "cinelet_provider_polls_total",
    "Questions about a job: `answered`, `refused`, or `failed` where no answer came",
    *("provider", "outcome"),
)
_RETRIES = _counter("cinelet_provider_retries_total", "Requests that are sent again", "provider")
CIRCUITS = _reading(
    "cinelet_circuits", "Circuit breakers that are open, probing, or closed with failures", "provider", "state"
)

_ANSWERS = _counter(
    "cinelet_cache_answers_total",
    "Where a video came from: the cache (`hit`), an equal request in flight (`joined`), a model (`made`, or `off`"
    " where the cache was not asked)",
    "answer",
)
_CACHE_BYTES = _counter("cinelet_cache_transferred_bytes_total", "Bytes of videos read and written", "direction")
_CACHE_EVICTIONS = _counter("cinelet_cache_evictions_total", "Cached videos that made room for others")
_CACHE_SIZE = _gauge("cinelet_cache_bytes", "What the cache held when this process last looked; 0 before")

_MODEL_LOADS = _counter("cinelet_model_loads_total", "Models that were loaded", "model")
_MODEL_EVICTIONS = _counter("cinelet_model_evictions_total", "Models that made room for others", "model")
MODEL_MEMORY = _reading(
    "cinelet_model_memory_bytes", "What loaded models take, `estimated` before and `real`", "model", "kind"
)
DEVICE_MEMORY = _reading(
    "cinelet_device_memory_bytes",
    "Memory of a device: `total`, `free`, and what this process has `allocated` and `reserved`",
    *("device", "kind"),
)

DISK = _reading("cinelet_disk_bytes", "Disk of the data directory, `total` and `free`", "kind")
DATABASE_UP = _reading("cinelet_database_up", "Whether the database answered in time for this scrape")
PROCESS_UP = _reading(
    "cinelet_process_up", "Whether a process of the service answered in time for this scrape", "process"
)

for _metric in (
    Metric("process_cpu_seconds_total", "counter", (), "CPU time of the process"),
    Metric("process_resident_memory_bytes", "gauge", (), "Memory of the process"),
    Metric("process_virtual_memory_bytes", "gauge", (), "Address space of the process"),
    Metric("process_open_fds", "gauge", (), "Open file descriptors"),
    Metric("process_max_fds", "gauge", (), "Most file descriptors that may be open"),
    Metric("process_start_time_seconds", "gauge", (), "When the process began, in seconds since the epoch"),
):
    _declare(_metric)  # they are prometheus_client's own, and Linux's


# A counter that begins with its first event hides that one: nothing can be seen to have grown.
for _state in ("completed", "failed", "cancelled"):
    for _queue in ("remote", "local"):
        _ENDED.labels(_queue, _state)
for _answer in ("hit", "joined", "made", "off"):
    _ANSWERS.labels(_answer)


_replies: dict[tuple[str, str | None, int], tuple[Counter, Histogram]] = {}
"""What requests count in, as to find it takes most of the time that it takes to count. There are few routes."""


def know(*, models: Iterable[str] = (), providers: Iterable[str] = ()) -> None:
    """Let configured models and providers be labels."""
    for provider in providers:
        PROVIDERS.learn(provider)
    for model in models:
        MODELS.learn(model)


def replied(method: str, route: str | None, status: int, seconds: float) -> None:
    """Count a request. route: the template that it matched; None for none."""
    key = (method if method in _METHODS else OTHER, route, status)
    found = _replies.get(key)
    if found is None:
        of = (key[0], _ROUTES.label(route) if route else OTHER)
        found = _REQUESTS.labels(*of, f"{status // 100}xx"), _REQUEST_TIME.labels(*of)
        _replies[key] = found
    counter, time = found
    counter.inc()
    time.observe(seconds)


def refused(code: str) -> None:
    """Count a reply that is an error."""
    _HTTP_ERRORS.labels(_CODES.label(code)).inc()


def begun(queue: str, waited_seconds: float) -> None:
    """Count a generation that is worked on for the first time."""
    _WAITS.labels(queue).observe(max(0.0, waited_seconds))


def ended(queue: str, state: str, *, model: str = "", code: str | None = None) -> None:
    """Count a generation that has ended. code: of the error that it failed with."""
    _ENDED.labels(queue, state).inc()
    if code is not None:
        _FAILED.labels(MODELS.label(model), _CODES.label(code)).inc()


def attempted(model: str, provider: str | None, code: str | None) -> None:
    """Count a try of a model. provider: None for this machine. code: of its error; None where it made the video."""
    if code is None:
        know(models=[model], providers=[provider or HERE])
    outcome = "succeeded" if code is None else _CODES.label(code)
    _ATTEMPTS.labels(MODELS.label(model), _provider(provider or HERE), outcome).inc()


def fell_back(model: str, used: str) -> None:
    """Count a video that another model made than the one that was asked for."""
    MODELS.learn(used)
    _FALLBACKS.labels(MODELS.label(model), MODELS.label(used)).inc()


def chosen(model: str, strategy: str) -> None:
    """Count that a strategy put a model first."""
    _CHOICES.labels(MODELS.label(model), strategy).inc()


def charged(model: str, provider: str | None, currency: str, amount: float) -> None:
    """Add to what a model cost. provider: None for this machine."""
    _COST.labels(MODELS.label(model), _provider(provider or HERE), currency).inc(amount)


def answered(result: VideoResult) -> None:
    """Count a video that somebody is given, and what it took where it was made for him."""
    _ANSWERS.labels(result.cache).inc()
    if result.cache not in {"made", "off"}:
        return
    MODELS.learn(result.model)
    model = MODELS.label(result.model)
    for stage, seconds in result.timings.items():
        stage_took(result.model, stage, seconds)
    steps = result.applied.get("num_inference_steps")
    if "frames_made" in result.applied and isinstance(steps, int) and steps > 0:
        _STEP_TIME.labels(model).observe(result.timings.get("denoising", 0.0) / steps)
    _MAKING_TIME.labels(model).observe(result.generation_time)
    _PACE.labels(model).observe(result.generation_time / max(result.facts.duration, 0.001))
    _VIDEOS.labels(model).inc()
    _VIDEO_SECONDS.labels(model).inc(result.facts.duration)
    _VIDEO_BYTES.labels(model).inc(result.facts.size)
    if result.cost is not None:
        charged(result.model, result.attempts[-1].provider if result.attempts else None, result.currency, result.cost)


def stage_took(model: str, stage: str, seconds: float) -> None:
    """Count the time of a stage."""
    _STAGE_TIME.labels(MODELS.label(model), _STAGES.label(stage)).observe(seconds)


def submitted(provider: str, outcome: Literal["accepted", "refused", "unsent", "unknown"]) -> None:
    """Count a request for a video."""
    if outcome == "accepted":
        PROVIDERS.learn(provider)
    _SUBMITS.labels(_provider(provider), outcome).inc()


def polled(provider: str, outcome: Literal["answered", "refused", "failed"]) -> None:
    """Count a question about a job."""
    _POLLS.labels(_provider(provider), outcome).inc()


def retried(provider: str) -> None:
    """Count a request that is sent again."""
    _RETRIES.labels(_provider(provider)).inc()


def cache_moved(direction: Literal["read", "written"], size_bytes: int) -> None:
    """Count a video that was read from the cache, or written to it."""
    _CACHE_BYTES.labels(direction).inc(size_bytes)


def cache_looked_through(*, holds_bytes: int, evicted: int) -> None:
    """Note what the cache holds, and count the videos that made room."""
    _CACHE_SIZE.set(holds_bytes)
    _CACHE_EVICTIONS.inc(evicted)


def model_loaded(model: str) -> None:
    """Count a model that was loaded."""
    MODELS.learn(model)
    _MODEL_LOADS.labels(MODELS.label(model)).inc()


def model_evicted(model: str) -> None:
    """Count a model that made room for another."""
    _MODEL_EVICTIONS.labels(MODELS.label(model)).inc()


def _provider(name: str) -> str:
    return PROVIDERS.label_of_known(name)
