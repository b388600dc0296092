"""Which backend serves which model reference: by scheme, made when first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

from cinelet.domain.backend import (
    Backend,
    Capabilities,
    Context,
    Expands,
    GeneratedVideo,
    Pulled,
    Revises,
    RevisesLoras,
    loads_of,
)
from cinelet.domain.condition import Condition, LoadedModel, condition_of, merged
from cinelet.domain.errors import CineletError, ModelUnsupportedError
from cinelet.domain.lora import Lora
from cinelet.domain.model import AUTO, BUILT_IN_SCHEMES, ModelReference
from cinelet.domain.request import Task, VideoRequest
from cinelet.observability.logs import get_logger

ENTRY_POINT_GROUP = "cinelet.backends"

BackendFactory = Callable[[], Backend]


class BackendRegistry:
    """A backend that hands each request to the backend of its model's scheme.

    factories: scheme -> what makes its backend; a factory that stands for several schemes is called once. Plugins add
    schemes by entry points of the group `cinelet.backends`, named as the scheme; what is built in wins over them.
    """

    def __init__(
        self,
        factories: Mapping[str, BackendFactory],
        *,
        plugins: Callable[[], Mapping[str, EntryPoint]] | None = None,
    ) -> None:
        self._factories = dict(factories)
        self._plugins = installed_plugins if plugins is None else plugins
        self._made: dict[BackendFactory | EntryPoint, Backend] = {}
        self._lock = threading.Lock()

    def schemes(self) -> frozenset[str]:
        """Return the schemes that are served, without loading any backend."""
        return frozenset(self._factories) | (frozenset(self._plugins()) - set(BUILT_IN_SCHEMES))

    def require_served(self, model: ModelReference) -> None:
        """Raise `ModelUnsupportedError` where nothing serves a reference, without loading any backend."""
        if model != AUTO and model.scheme not in self.schemes():
            raise self._unserved(model)

    async def capabilities(self, model: ModelReference) -> Capabilities:
        """Ask the model's backend."""
        return await self.backend_of(model).capabilities(model)

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        """Let the model's backend make the video."""
        return await self.backend_of(ModelReference.parse(request.model or "")).generate(request, context)

    async def expand(self, model: ModelReference, task: Task) -> Sequence[ModelReference]:
        """Ask the model's backend for the ways to run it; most know one."""
        backend = self.backend_of(model)
        return await backend.expand(model, task) if isinstance(backend, Expands) else (model,)

    async def revision(self, model: ModelReference) -> str | None:
        """Ask the model's backend which state it is in; None where nobody serves the model, or can tell."""
        try:
            backend = self.backend_of(model)
        except CineletError:
            return None  # To make the video says why.
        return await backend.revision(model) if isinstance(backend, Revises) else None

    async def lora_revision(self, lora: Lora) -> str | None:
        """Ask what runs models on this machine, as nothing else takes LoRAs."""
        try:
            backend = self.backend_of(ModelReference("local", "lora"))
        except CineletError:
            return None  # To make the video says why.
        return await backend.lora_revision(lora) if isinstance(backend, RevisesLoras) else None

    async def pull(self, model: ModelReference, context: Context) -> Pulled:
        """Let the model's backend bring it here."""
        return await loads_of(self.backend_of(model), model).pull(model, context)

    async def load(self, model: ModelReference, context: Context) -> LoadedModel:
        """Let the model's backend load it."""
        return await loads_of(self.backend_of(model), model).load(model, context)

    async def unload(self, model: ModelReference) -> bool:
        """Let the model's backend forget it."""
        return await loads_of(self.backend_of(model), model).unload(model)

    def condition(self) -> Condition:
        """Return how the backends are that were made so far."""
        with self._lock:
            backends = list(self._made.values())
        return merged(map(condition_of, backends))

    async def aclose(self) -> None:
        """Close every backend that was made; if some fail to, the others are closed all the same."""
        with self._lock:
            backends = list(self._made.values())
            self._made.clear()
        failures: list[Exception] = []
        for backend in backends:
            try:
                await backend.aclose()
            except Exception as error:  # noqa: BLE001  (collected and raised below: one failure must not leak the rest)
                failures.append(error)
        if failures:
            raise ExceptionGroup("Some backends could not be closed", failures)

    def backend_of(self, model: ModelReference) -> Backend:
        """Return the backend that serves a reference, or raise `ModelUnsupportedError` that says what to do."""
        with self._lock:
            factory = self._factories.get(model.scheme)
            source: BackendFactory | EntryPoint | None = factory
            if source is None and model.scheme not in BUILT_IN_SCHEMES:
                source = self._plugins().get(model.scheme)
            if source is None:
                raise self._unserved(model)
            if source not in self._made:
                self._made[source] = _load(source, model) if isinstance(source, EntryPoint) else source()
            return self._made[source]

    def _unserved(self, model: ModelReference) -> ModelUnsupportedError:
        if model == AUTO:
            why = f"{model} is no model, but a choice among several"
            return ModelUnsupportedError(f"{why}; name one of them (cinelet models list shows some)", str(model))
        served = ", ".join(sorted(self.schemes()))
        why = f"Nothing serves the scheme {model.scheme!r} of {model}"
        return ModelUnsupportedError(f"{why}; install the plugin that does, or use one of: {served}", str(model))


def installed_plugins() -> Mapping[str, EntryPoint]:
    """Return the plugins that are installed, by scheme; none of them is loaded."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _load(point: EntryPoint, model: ModelReference) -> Backend:
    try:
        backend = point.load()()
    except CineletError:
        raise
    except Exception as error:
        # A plugin is anybody's code, and whatever it raises must still name the plugin.
        get_logger(__name__).exception("A plugin could not be loaded", extra={"plugin": point.value})
        why = f"The plugin for {point.name!r} ({point.value}) does not load: {type(error).__name__}: {error}"
        raise ModelUnsupportedError(f"{why}; update or remove it", str(model)) from error
    if not isinstance(backend, Backend):
        why = f"The plugin for {point.name!r} ({point.value}) does not make a Backend"
        raise ModelUnsupportedError(f"{why}; see the guide to writing one", str(model))
    return backend
