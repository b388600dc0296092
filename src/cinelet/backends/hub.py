"""A plain Hub id: run by a provider where one serves it, else on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cinelet.domain.backend import Backend, Capabilities, Context, Expands, GeneratedVideo, Pulled, Revises, loads_of
from cinelet.domain.condition import LoadedModel
from cinelet.domain.errors import ModelUnsupportedError
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task, VideoRequest


class HubBackend:
    """A backend for references such as `org/name`, which say what is to run and not where.

    remote: what runs models at providers, None without a credential. local: what runs them here, None where what that
    needs is not installed. Both are made when first needed, and closed by whoever gave them.
    """

    def __init__(self, *, remote: Callable[[], Backend] | None, local: Callable[[], Backend] | None) -> None:
        self._remote = remote
        self._local = local

    async def expand(self, model: ModelReference, task: Task) -> Sequence[ModelReference]:
        """Return the providers that serve the model, or where none does, this machine."""
        if self._remote is None:
            return (model,)
        remote = self._remote()
        try:
            return await remote.expand(model, task) if isinstance(remote, Expands) else (model,)
        except ModelUnsupportedError:
            # It is on the Hub and nobody serves it.
            if self._local is None:
                raise
            return (ModelReference("local", model.name),)

    async def capabilities(self, model: ModelReference) -> Capabilities:
        """Ask the providers, and this machine where none serves the model."""
        if self._remote is None:
            return await self._here().capabilities(model)
        try:
            return await self._remote().capabilities(model)
        except ModelUnsupportedError:
            if self._local is None:
                raise
            return await self._local().capabilities(ModelReference("local", model.name))

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        """Make the video in the first of the ways that `expand` lists."""
        (first, *_) = await self.expand(ModelReference.parse(request.model or ""), request.task)
        backend = self._here() if self._remote is None or first.scheme == "local" else self._remote()
        return await backend.generate(request.model_copy(update={"model": str(first)}), context)

    async def revision(self, model: ModelReference) -> str | None:
        """Name the revision that is on this machine. Who will run the model is not known without the network.

        A provider's video of a model that comes to this machine later is made once more; a stale one is never used.
        """
        if self._local is None:
            return None
        local = self._local()
        return await local.revision(ModelReference("local", model.name)) if isinstance(local, Revises) else None

    async def pull(self, model: ModelReference, context: Context) -> Pulled:
        """Bring the model to this machine: who asks for that wants it here, whoever else runs it."""
        return await loads_of(self._here(), model).pull(self._name_here(model), context)

    async def load(self, model: ModelReference, context: Context) -> LoadedModel:
        """Load the model on this machine."""
        return await loads_of(self._here(), model).load(self._name_here(model), context)

    async def unload(self, model: ModelReference) -> bool:
        """Forget the model of this machine."""
        return await loads_of(self._here(), model).unload(self._name_here(model))

    async def aclose(self) -> None:
        """Do nothing: the backends belong to whoever gave them."""

    def _name_here(self, model: ModelReference) -> ModelReference:
        return model if self._remote is None else ModelReference("local", model.name)

    def _here(self) -> Backend:
        if self._local is None:
            message = "Running a Hub model needs a token (HF_TOKEN), or what runs it on this machine"
            raise ModelUnsupportedError(f"{message}: pip install 'cinelet[local]'", "hub")
        return self._local()
