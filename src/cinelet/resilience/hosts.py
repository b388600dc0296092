"""Who runs a model: what budgets and circuits are counted by."""

from __future__ import annotations

from urllib.parse import urlsplit

from cinelet.domain.model import ModelReference

_REMOTE_SCHEMES = frozenset({"hf", "endpoint", "openai"})


def is_remote(model: ModelReference) -> bool:
    """Tell whether the model is one of those that others run, and whose errors say what may be sent again.

    A plain Hub id is not: where others run it, it is expanded to `hf:` before it comes to be counted. Nor is a plugin's
    model: its errors promise nothing, and a wrong guess would be paid twice.
    """
    return model.scheme in _REMOTE_SCHEMES


def may_be_remote(model: ModelReference) -> bool:
    """Tell whether others may run the model: a plain Hub id leaves that open until it is expanded."""
    return model.scheme == "hub" or is_remote(model)


def host_of(model: ModelReference) -> str | None:
    """Return who runs a remote model, such as "fal-ai" or "host.example:8000", or None if it is not remote."""
    if not is_remote(model):
        return None
    if model.url is not None:
        return urlsplit(model.url).netloc.lower()
    return model.provider or "huggingface"


def name_of(model: ModelReference) -> str:
    """Return the name under which it is counted how a model performs."""
    # An address may carry a key in its query, and this name is shown.
    return str(model) if model.url is None else str(model).partition("?")[0]


def circuit_of(model: ModelReference) -> str | None:
    """Return the name of a remote model at its host, such as "hf:org/name:fal-ai", or None if it is not remote."""
    return name_of(model) if is_remote(model) else None
