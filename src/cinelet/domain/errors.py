"""Every error that cinelet raises.

```
CineletError
├── ValidationError(message, details)              the request is wrong; nothing was spent
│   └── FileSizeError(size, limit, kind)
├── ProcessingError(message, stage)                the work failed after it began
├── ModelUnsupportedError(message, model)          the model exists and cannot do this here
├── NoModelFitsError(models)                       none of the models may be tried; nothing was sent
├── CapacityError(message)                         no room now: queue, memory, disk
├── DeviceLostError(message)                       the GPU answers no more; its process must end
├── DeadlineExceededError(message)
├── GenerationCancelledError(message)
├── HuggingFaceAPIError(message, status, provider, request_id, retry_after, accepted)
│   ├── ModelNotFoundError
│   ├── AuthenticationError
│   ├── PaymentRequiredError
│   ├── RateLimitError
│   ├── CircuitOpenError                           it failed so often that it is left alone for a while
│   └── SubmissionUnknownError                     sent, and nobody knows whether it arrived: never repeated
└── AllModelsFailedError                           an ExceptionGroup: every model's cause
```

`code` is stable and made for programs; `retryable` says whether the same request may succeed later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self


class CineletError(Exception):
    """The root: one line for a person, a code for a program, facts as attributes."""

    code: ClassVar[str] = "cinelet_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        # What a host says may hold half a character, which no reply and no log could be written with.
        message = message.encode(errors="replace").decode()
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def facts(self) -> dict[str, Any]:
        """What else is known, as JSON values. Never holds a prompt or a secret."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON values: code, message, retryable and the facts."""
        return {"code": self.code, "message": self.message, "retryable": self.retryable, **self.facts()}


class ValidationError(CineletError):
    """The request cannot be run as it stands; `details` maps each field to what is wrong with it."""

    code = "invalid_request"

    def __init__(self, message: str, details: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.details: dict[str, str] = dict(details or {})

    def facts(self) -> dict[str, Any]:
        return {"details": self.details}


class FileSizeError(ValidationError):
    """A file is larger than the limit. `size` and `limit` are bytes; `kind` is "image" or "video"."""

    code = "file_too_large"

    def __init__(self, size: int, limit: int, kind: str) -> None:
        message = f"The {kind} has {size:,} bytes; at most {limit:,} are allowed"
        super().__init__(message, {kind: f"Must be at most {limit} bytes"})
        self.size = size
        self.limit = limit
        self.kind = kind

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "size": self.size, "limit": self.limit, "kind": self.kind}


class ProcessingError(CineletError):
    """The work began and failed. `stage` names where: a progress stage, a task, or `probe`."""

    code = "processing_failed"

    def __init__(self, message: str, stage: str) -> None:
        super().__init__(message)
        self.stage = stage

    def facts(self) -> dict[str, Any]:
        return {"stage": self.stage}


class ModelUnsupportedError(CineletError):
    """The model was found and cannot do this here; the message says why and what to do."""

    code = "model_unsupported"

    def __init__(self, message: str, model: str) -> None:
        super().__init__(message)
        self.model = model

    def facts(self) -> dict[str, Any]:
        return {"model": self.model}


class NoModelFitsError(CineletError):
    """None of the models that might be tried fits the request; `models` maps each to the reason. Nothing was sent."""

    code = "no_model_fits"

    def __init__(self, models: Mapping[str, str]) -> None:
        each = "; ".join(f"{model}: {reason}" for model, reason in models.items())
        told = each or "there is none to choose from; name one, or set CINELET_AUTO_MODELS"
        super().__init__(f"No model fits this request, and nothing was sent: {told}")
        self.models = dict(models)

    def facts(self) -> dict[str, Any]:
        return {"models": self.models}


class CapacityError(CineletError):
    """There is no room for this now: queue, memory or disk."""

    code = "no_capacity"
    retryable = True


class DeviceLostError(CineletError):
    """The device of local models answers no more; only a new process can use it again."""

    code = "device_lost"
    retryable = True

    def __init__(self, what: str) -> None:
        super().__init__(f"The device answers no more ({what}); start the process again, and look at the driver's log")


class DeadlineExceededError(CineletError):
    """The time that the caller gave is over."""

    code = "deadline_exceeded"


class GenerationCancelledError(CineletError):
    """The caller asked to stop."""

    code = "cancelled"


class HuggingFaceAPIError(CineletError):
    """A model's host (the Hub, a provider, an endpoint) refused or failed.

    `status` is the HTTP status where there was one, `retry_after` seconds where the host gave them. `accepted` is True
    where the host had taken the work before it failed: asking again may be billed again.
    """

    code = "model_host_failed"
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        provider: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        accepted: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.provider = provider
        self.request_id = request_id
        self.retry_after = retry_after
        self.accepted = accepted

    def facts(self) -> dict[str, Any]:
        named = {
            "status": self.status,
            "provider": self.provider,
            "request_id": self.request_id,
            "retry_after": self.retry_after,
            "accepted": self.accepted or None,
        }
        return {name: value for name, value in named.items() if value is not None}


class ModelNotFoundError(HuggingFaceAPIError):
    """No model answers to this reference, or nobody serves it."""

    code = "model_not_found"
    retryable = False


class AuthenticationError(HuggingFaceAPIError):
    """The token is missing, wrong, or may not use this model."""

    code = "not_authenticated"
    retryable = False


class PaymentRequiredError(HuggingFaceAPIError):
    """The account has no credit left for this."""

    code = "payment_required"
    retryable = False


class RateLimitError(HuggingFaceAPIError):
    """Too many requests; `retry_after` says when to come back, if the host said so."""

    code = "rate_limited"


class CircuitOpenError(HuggingFaceAPIError):
    """The host failed several times in a row and is left alone; `retry_after` says how long. Nothing was sent."""

    code = "circuit_open"


class SubmissionUnknownError(HuggingFaceAPIError):
    """A request was sent and its outcome is unknown. It may be running and billed, so it is never sent again."""

    code = "submission_unknown"
    retryable = False


class AllModelsFailedError(ExceptionGroup[CineletError], CineletError):  # type: ignore[override]  # `message` is the group's
    """Every candidate failed; `exceptions` holds one cause a model, in the order they were tried."""

    code = "all_models_failed"

    def __new__(cls, message: str, exceptions: Sequence[CineletError]) -> Self:
        return super().__new__(cls, message, exceptions)

    def __init__(self, message: str, exceptions: Sequence[CineletError]) -> None:  # noqa: ARG002  # __new__ keeps it
        # ExceptionGroup keeps `message` itself, read-only, so CineletError.__init__ must not set it.
        self.retryable = any(cause.retryable for cause in exceptions)  # type: ignore[misc]

    def __str__(self) -> str:
        return self.message

    def derive(self, excs: Sequence[CineletError]) -> AllModelsFailedError:  # type: ignore[override]
        return AllModelsFailedError(self.message, excs)

    def facts(self) -> dict[str, Any]:
        return {"causes": [cause.to_dict() for cause in self.exceptions if isinstance(cause, CineletError)]}
