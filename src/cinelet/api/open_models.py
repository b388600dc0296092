"""Which models may be named by whom: an address or a path is an administrator's to name, unless it is listed.

Whoever names an address has this machine ask there, and reads in an error what it answered; whoever names a path learns
what lies on its disk. On a network of its own, neither is a tenant's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Protocol

from cinelet.api.access import Caller
from cinelet.api.errors import NotAllowedError
from cinelet.config import Config
from cinelet.domain.errors import ValidationError
from cinelet.domain.lora import Lora
from cinelet.domain.model import ModelReference
from cinelet.jobs.keys import Role


class Asked(Protocol):
    """What asks for a video: a request, or the body of one."""

    @property
    def model(self) -> str | None:
        """Who makes it."""

    @property
    def upscaler(self) -> str | None:
        """Who makes it anew in twice the size."""

    @property
    def lora(self) -> Sequence[Lora]:
        """What changes the model."""


class OpenModels:
    """The models of addresses and paths that everybody may name: the configured ones, and those listed for that."""

    def __init__(self, config: Config) -> None:
        self._listed = frozenset(
            chain(
                config.default_models.values(),
                *config.fallback_models.values(),
                config.cinelet_auto_models,
                config.cinelet_preload,
                config.cinelet_open_models,
            )
        )

    def require(self, caller: Caller, asked: Asked) -> None:
        """Raise `NotAllowedError` for what this caller may not name; what cannot be read is left to others."""
        self.require_model(caller, asked.model)
        self.require_model(caller, asked.upscaler, field="upscaler")
        if caller.role is not Role.ADMIN and any(one.is_file for one in asked.lora):
            raise _not_allowed("lora", "a file of the server")

    def require_model(self, caller: Caller, reference: str | None, *, field: str = "model") -> None:
        """Raise `NotAllowedError` for a reference that this caller may not name."""
        if reference is not None and caller.role is not Role.ADMIN and (what := self._private(reference)):
            raise _not_allowed(field, what)

    def _private(self, text: str) -> str | None:
        """Return what a reference names that is not for everybody, or None."""
        try:
            reference = ModelReference.parse(text)
        except ValidationError:
            return None
        if str(reference) in self._listed:
            return None
        if reference.url is not None:
            return "an address"
        return "a directory of the server" if reference.is_directory else None


def _not_allowed(field: str, what: str) -> NotAllowedError:
    message = f"{field} names {what}, which a key of the role admin may, or anybody where CINELET_OPEN_MODELS lists it"
    return NotAllowedError(f"{message}; name a model of the Hub, or ask whoever runs this service", {field: "Not open"})
