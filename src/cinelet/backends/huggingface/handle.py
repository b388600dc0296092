"""What is saved of a job, so that any process can ask about it again. Holds no credential."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cinelet.backends.huggingface.access import Access, ForeignAddressError, Keyring
from cinelet.backends.huggingface.providers import PROVIDERS, Job
from cinelet.domain.backend import Handle
from cinelet.domain.errors import SubmissionUnknownError

BACKEND = "huggingface"
_ADDRESSES = ("status_url", "result_url", "cancel_url")


@dataclass(frozen=True, slots=True)
class SavedJob:
    """A job that was accepted, and the way to ask about it.

    provider_model, seed: what it was sent with. request_id: the host's name for the request, if the job has none.
    accepted_at: seconds since the epoch.
    """

    job: Job
    access: Access
    provider_model: str
    seed: int | None
    request_id: str | None = None
    accepted_at: float = field(default_factory=time.time)

    def age_seconds(self) -> float:
        """Return how long ago the job was accepted."""
        return max(0.0, time.time() - self.accepted_at)


def submitting(reference: str, host: str) -> dict[str, Any]:
    """Return what is saved before a request is sent to a provider or an endpoint."""
    return {"model": reference, "backend": BACKEND, "provider": host, "submitting": True}


def accepted(reference: str, saved: SavedJob) -> dict[str, Any]:
    """Return what is saved when a provider has taken a job."""
    job = saved.job
    return {
        "model": reference,
        "backend": BACKEND,
        "provider": saved.access.provider.name,
        "provider_model": saved.provider_model,
        "routed": saved.access.routed,
        "id": job.id,
        **{name: getattr(job, name) for name in (*_ADDRESSES, "video_url")},
        "seed": saved.seed,
        "request_id": saved.request_id,
        "accepted_at": round(saved.accepted_at, 3),
    }


def belongs(handle: Handle | None, reference: str) -> bool:
    """Tell whether a handle is of this backend and of the model that is asked for."""
    return handle is not None and handle.get("backend") == BACKEND and handle.get("model") == reference


def restore(handle: Handle, keyring: Keyring) -> SavedJob:
    """Return the job of a handle.

    Raises `SubmissionUnknownError` where there may be a job and nobody can ask about it: the request was being sent, or
    the handle is not as it was saved. Every address in it is checked here, before any credential is sent to it.
    """
    reference, host = str(handle.get("model")), str(handle.get("provider"))[:60]
    if handle.get("submitting"):
        raise _lost(f"The request for {reference} was being sent to {host} when the process ended", host)
    provider, routed = PROVIDERS.get(host), handle.get("routed")
    if provider is None or not isinstance(routed, bool):
        raise _lost(f"The saved handle of {reference} names no provider", host)
    if not _is_well_formed(handle):
        raise _lost(f"The saved handle of {reference} is damaged", host)
    access = keyring.access(provider, routed=routed)
    try:
        for name in _ADDRESSES:
            if handle.get(name) is not None:
                access.url(handle[name])
    except ForeignAddressError as error:
        raise _lost(f"The saved handle of {reference} leads elsewhere than to {host} ({error})", host) from error
    job = Job(handle["id"], **{name: handle.get(name) for name in (*_ADDRESSES, "video_url")})
    seed, request_id, accepted_at = handle.get("seed"), handle.get("request_id"), handle.get("accepted_at", 0.0)
    return SavedJob(job, access, handle["provider_model"], seed, request_id, accepted_at)


def _is_well_formed(handle: Mapping[str, Any]) -> bool:
    texts = [handle.get(name) for name in (*_ADDRESSES, "video_url", "request_id")]
    return (
        isinstance(handle.get("id"), str)
        and isinstance(handle.get("provider_model"), str)
        and isinstance(handle.get("seed"), int | None)
        and isinstance(handle.get("accepted_at", 0.0), int | float)
        and all(isinstance(text, str | None) for text in texts)
        and any((handle.get("status_url"), handle.get("video_url")))
    )


def _lost(why: str, host: str) -> SubmissionUnknownError:
    message = f"{why}; it may run and be billed, so it is not sent again: look into the account there"
    return SubmissionUnknownError(message, provider=host)
