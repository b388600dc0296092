"""Puts the parts together: settings in, a running service out. The only place that knows every part."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import threading
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from cinelet.backends.hub import HubBackend
from cinelet.backends.registry import BackendRegistry
from cinelet.clock import Clock, SystemClock
from cinelet.config import EMBEDDED_MODEL, Config
from cinelet.domain.backend import Backend, Revises, RevisesLoras
from cinelet.domain.errors import CineletError, ModelUnsupportedError, ProcessingError, ValidationError
from cinelet.domain.model import AUTO, ModelReference
from cinelet.domain.request import Task
from cinelet.resilience import (
    BreakerBackend,
    FallbackBackend,
    LimitBackend,
    RetryBackend,
    RetryBudgets,
    TracedBackend,
    circuit_of,
    host_of,
)
from cinelet.resilience.knowledge import Book
from cinelet.resilience.performance import Memory
from cinelet.resilience.selection import Rules
from cinelet.resilience.selector import Selector
from cinelet.service import Revision
from cinelet.service import VideoService as _VideoService

if TYPE_CHECKING:
    from cinelet.backends.huggingface.hf_client import HuggingFaceClient
    from cinelet.jobs.database import Database
    from cinelet.jobs.durable import DurableJobs
    from cinelet.storage.blobs import BlobStore
    from cinelet.storage.cache import VideoCache
    from cinelet.transport.client import Timeouts

BATCH_ON_GPU = 4
_LOCAL_PACKAGES = ("torch", "diffusers", "transformers")
_REMOTE_SCHEMES = frozenset({"hf", "endpoint", "openai"})


class VideoService(_VideoService):
    """The service as the environment configures it; every part can be given instead.

    config: the settings; read now if None. backend: what makes videos; by default every scheme that is installed, with
    retry, circuit breakers and fallback models. previews: whether pictures of each video are drawn as well. The cache
    is opened when it is first asked.
    """

    def __init__(self, *, config: Config | None = None, backend: Backend | None = None, previews: bool = False) -> None:
        self.config = Config() if config is None else config
        source: object = backend
        if backend is None:
            source = registry = make_registry(self.config)
            backend = make_backend(self.config, registry)
        self._opening = threading.Lock()
        super().__init__(
            backend,
            default_models=self.config.default_models,
            limits=self.config.limits,
            preset=self.config.video_quality_preset,
            deadline_seconds=self.config.cinelet_deadline,
            revision=_revision(self.config, source) if isinstance(source, Revises) else None,
            lora_revision=source.lora_revision if isinstance(source, RevisesLoras) else None,
            previews=previews,
            loads=source,
            prices=self.config.price_table(),
        )

    async def _opened_cache(self) -> VideoCache | None:
        if self.cache is None and self.config.cinelet_cache_size:
            try:
                return await asyncio.to_thread(self._open_cache)
            except CineletError as error:
                self.logger.warning("The cache cannot be opened", extra={"reason": str(error), "code": error.code})
        return self.cache

    def _open_cache(self) -> VideoCache:
        from cinelet.storage.cache import VideoCache

        with self._opening:  # Two caches would not see what the other is making.
            if self.cache is None:
                self.cache = VideoCache(
                    open_blob_store(self.config),
                    max_bytes=self.config.cinelet_cache_size,
                    ttl_seconds=self.config.cinelet_cache_ttl,
                )
            return self.cache

    @cached_property
    def hf_client(self) -> HuggingFaceClient:
        """The specification's client, on this service's backend."""
        return _client(self.config, self.backend)


def _revision(config: Config, source: Revises) -> Revision:
    """Return what names the state of a model; that of "auto" is that of all that it chooses among."""

    async def state(model: ModelReference) -> str | None:
        if model != AUTO:
            return await source.revision(model)
        names = dict.fromkeys(name for task in Task for name in _auto_models(config, task))
        return repr([(name, await source.revision(ModelReference.parse(name))) for name in names])

    return state


def get_hf_client(*, config: Config | None = None) -> HuggingFaceClient:
    """Return a client with `text_to_video` and `image_to_video`, configured by the environment if config is None."""
    config = Config() if config is None else config
    return _client(config, make_backend(config))


def _client(config: Config, backend: Backend) -> HuggingFaceClient:
    from cinelet.backends.huggingface.hf_client import HuggingFaceClient

    return HuggingFaceClient(
        backend,
        default_models=config.default_models,
        limits=config.limits,
        deadline_seconds=config.cinelet_deadline,
    )


def open_blob_store(config: Config) -> BlobStore:
    """Return the store of finished videos. Blocks. Raises `StorageError` and `ValidationError`."""
    from cinelet.storage.blobs import open_store

    return open_store(config.storage_url)


async def open_database(config: Config | None = None) -> Database:
    """Return the database of jobs, open; an async context manager that closes it. Raises `DatabaseError`."""
    from cinelet.jobs.database import Database

    config = Config() if config is None else config
    return await Database.open(_database_url(config), data_directory=config.cinelet_data_dir)


def durable_jobs(config: Config | None = None, *, max_connections: int | None = None) -> DurableJobs:
    """Return what durable work needs, as an async context manager that opens it; None: as few connections as do."""
    from cinelet.jobs.durable import DurableJobs, Settings
    from cinelet.jobs.outcomes import Recorder

    config = Config() if config is None else config
    settings = Settings(
        database_url=_database_url(config),
        data_directory=config.cinelet_data_dir,
        make_service=lambda: VideoService(config=config, previews=True),
        open_store=lambda: open_blob_store(config),
        queue_of=lambda model: queue_of(ModelReference.parse(model), config),
        max_waiting=config.cinelet_queue_length,
        deadline_seconds=config.cinelet_deadline,
        allow_private_webhooks=config.cinelet_webhook_allow_private,
        together=batch_size(config),
        previews=config.cinelet_previews,
        preload=config.cinelet_preload,
        recorder=Recorder(Memory(half_life_seconds=config.cinelet_performance_half_life)),
        fallbacks=config.fallback_models,
    )
    return DurableJobs(settings, max_connections=max_connections)


def batch_size(config: Config) -> int:
    """Return how many videos of one model are made in one run: more than one only where that is faster."""
    named = config.cinelet_device
    on_gpu = count_gpus(config) > 0 if named is None else named.startswith(("cuda", "xpu"))
    return config.cinelet_batch_size or (BATCH_ON_GPU if on_gpu else 1)


def count_gpus(config: Config) -> int:
    """Return how many GPUs of NVIDIA models could run on here, without loading PyTorch."""
    from cinelet.backends.diffusers import devices

    return devices.count_gpus(config.cuda_visible_devices)


def queue_of(model: ModelReference, config: Config) -> str:
    """Return the queue of a model: "remote" where others run it, "local" where it needs this machine's device."""
    remote = model.scheme in _REMOTE_SCHEMES or (model.scheme == "hub" and config.has_credentials)
    return "remote" if remote else "local"


def _database_url(config: Config) -> str | None:
    return config.database_url.get_secret_value() if config.database_url else None


def make_backend(config: Config, registry: BackendRegistry | None = None) -> Backend:
    """Return what makes all videos: every scheme, and around them retry, circuit breakers and the fallback chain.

    registry: of the schemes; made by `make_registry` if None.
    """
    clock = SystemClock()
    registry = make_registry(config) if registry is None else registry
    retrying = RetryBackend(registry, key=host_of, budgets=RetryBudgets(), clock=clock, random=random.SystemRandom())
    attempt_seconds = config.cinelet_attempt_timeout
    breaker = BreakerBackend(retrying, key=circuit_of, clock=clock, attempt_seconds=attempt_seconds)
    guarded: Backend = breaker
    if config.cinelet_provider_limits:
        guarded = LimitBackend(guarded, key=host_of, limits=config.cinelet_provider_limits)
    fallbacks = config.fallback_models
    return FallbackBackend(
        TracedBackend(guarded),
        expand=registry.expand,
        fallbacks=fallbacks,
        attempt_seconds=attempt_seconds,
        known_models=(*config.default_models.values(), *chain.from_iterable(fallbacks.values()), EMBEDDED_MODEL),
        clock=clock,
        selector=_selector(config, registry, breaker, clock),
    )


def _selector(config: Config, registry: BackendRegistry, breaker: BreakerBackend, clock: Clock) -> Selector:
    """Return what chooses among models. What is known of them is this process's own, until a database is opened."""
    rules = Rules(memory=Memory(half_life_seconds=config.cinelet_performance_half_life))
    return Selector(
        expand=registry.expand,
        capable=registry.capabilities,
        knowledge=Book(clock, rules.memory),
        cost=config.price_table().cost,
        rests_seconds=breaker.rests_seconds,
        queue_of=lambda model: queue_of(model, config),
        auto_models={task: _auto_models(config, task) for task in Task},
        fallbacks=config.fallback_models,
        strategy=config.cinelet_strategy,
        random=random.SystemRandom(),
        clock=clock,
        rules=rules,
    )


def _auto_models(config: Config, task: Task) -> tuple[str, ...]:
    """Return what "auto" chooses among."""
    return config.cinelet_auto_models or (config.default_models[task], *config.fallback_models[task])


def make_registry(config: Config) -> BackendRegistry:
    """Return the backend for all schemes: this machine's models, remote ones, and plugins'. Nothing heavy is loaded."""

    def on_this_machine() -> Backend:
        return _diffusers_backend(config)

    def remotely() -> Backend:
        return _huggingface_backend(config)

    def hub() -> Backend:
        return HubBackend(
            remote=(lambda: registry.backend_of(ModelReference("hf", "hub"))) if config.has_credentials else None,
            local=None if missing_packages() else (lambda: registry.backend_of(ModelReference("local", "hub"))),
        )

    registry = BackendRegistry(
        {
            **dict.fromkeys(("embedded", "local"), on_this_machine),
            **dict.fromkeys(("hf", "endpoint"), remotely),
            "hub": hub,
            "openai": lambda: _openai_videos_backend(config),
        }
    )
    return registry


def require_served(config: Config, model: str) -> None:
    """Raise `ModelUnsupportedError` for a model of a scheme that nothing here serves."""
    make_registry(config).require_served(ModelReference.parse(model))


def require_directory(model: str) -> None:
    """Raise `ModelNotFoundError` for a model that is to be in a directory where there is none."""
    reference = ModelReference.parse(model)
    if reference.is_directory:
        from cinelet.backends.diffusers.model_folder import read_index

        read_index(Path(reference.name).expanduser(), model)


def missing_packages() -> list[str]:
    """Return what is not installed and that models on this machine need."""
    return [name for name in _LOCAL_PACKAGES if importlib.util.find_spec(name) is None]


def check_device(config: Config) -> None:
    """Raise `ValidationError` where models are to run on devices that are not here; loads PyTorch to find out."""
    shared = config.cinelet_context_parallel
    if (config.cinelet_device in {None, "cpu"} and shared == 1) or missing_packages():
        return
    from cinelet.backends.diffusers.context_group import devices_of
    from cinelet.backends.diffusers.devices import choose_device

    try:
        device = choose_device(config.cinelet_device)
    except ProcessingError as error:
        raise ValidationError(str(error), {"device": "Cannot be used here"}) from error
    for other in devices_of(device, shared)[1:]:
        try:
            choose_device(other)
        except ProcessingError as error:
            why = f"there is no {other} beside {device}; use fewer devices"
            message = f"CINELET_CONTEXT_PARALLEL={shared} cannot be used: {why}"
            raise ValidationError(message, {"CINELET_CONTEXT_PARALLEL": why}) from error


def _diffusers_backend(config: Config) -> Backend:
    if missing := missing_packages():
        message = (
            f"Running models on this machine needs {', '.join(missing)}; install with: pip install 'cinelet[local]'"
        )
        raise ModelUnsupportedError(message, "local")
    from cinelet.backends import embedded
    from cinelet.backends.diffusers import DiffusersBackend, SpeedSettings

    return DiffusersBackend(
        directories={"embedded": embedded.directory()},
        cache_dir=config.hf_hub_cache,
        hf_token=_token(config),
        endpoint=config.hf_endpoint,
        device=config.cinelet_device,
        model_memory=config.cinelet_model_memory,
        most_together=batch_size(config),
        speed=SpeedSettings(**config.speed),
    )


def _huggingface_backend(config: Config) -> Backend:
    from cinelet.backends.huggingface import HuggingFaceBackend

    return HuggingFaceBackend(
        token=_token(config),
        provider_keys=config.provider_keys,
        bill_to=config.bill_to,
        endpoint=config.hf_endpoint,
        endpoint_tokens=_host_tokens(config),
        timeouts=_timeouts(config),
        max_video_bytes=config.max_video_file_size,
    )


def _openai_videos_backend(config: Config) -> Backend:
    from cinelet.backends.openai_videos import OpenAIVideosBackend

    return OpenAIVideosBackend(
        tokens=_host_tokens(config), timeouts=_timeouts(config), max_video_bytes=config.max_video_file_size
    )


def _token(config: Config) -> str | None:
    return config.hf_token.get_secret_value() if config.hf_token else None


def _host_tokens(config: Config) -> dict[str, str]:
    return {host: token.get_secret_value() for host, token in config.cinelet_host_tokens.items()}


def _timeouts(config: Config) -> Timeouts:
    from cinelet.transport.client import Timeouts

    return Timeouts(connect_seconds=config.cinelet_connect_timeout, read_seconds=config.cinelet_read_timeout)
