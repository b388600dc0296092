"""TracedBackend: each model that is tried is a span, with what its host or this machine did inside it."""

from __future__ import annotations

from cinelet.domain.backend import Backend, Capabilities, Context, GeneratedVideo
from cinelet.domain.condition import Condition, condition_of
from cinelet.domain.model import ModelReference
from cinelet.domain.request import VideoRequest
from cinelet.observability.stages import stages_as_events, stages_as_spans
from cinelet.observability.tracing import describe, span
from cinelet.resilience.hosts import host_of, is_remote


class TracedBackend:
    """A backend whose every attempt is a part of the trace that is open."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def capabilities(self, model: ModelReference) -> Capabilities:
        """Ask the backend."""
        return await self._backend.capabilities(model)

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        """Make the video inside a span."""
        model = ModelReference.parse(request.model or "")
        staged = stages_as_events if is_remote(model) else stages_as_spans
        resumed = context.handle is not None
        with (
            span("attempt", model=str(model), host=host_of(model), resumed=resumed) as attempt,
            staged(context) as told,
        ):
            video = await self._backend.generate(request, told)
            describe(attempt, made_by=video.model, provider=video.provider, request_id=video.request_id)
            return video

    def condition(self) -> Condition:
        """Return how the backend is."""
        return condition_of(self._backend)

    async def aclose(self) -> None:
        """Close the backend."""
        await self._backend.aclose()
