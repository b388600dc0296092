"""From errors to replies: one table, one shape, and never a stack trace."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from cinelet.domain import errors as domain
from cinelet.domain.errors import CineletError
from cinelet.jobs import errors as jobs
from cinelet.observability import metrics
from cinelet.observability.logs import here
from cinelet.storage import errors as storage


class ErrorFacts(BaseModel):
    """What happened, to which field, and what to do."""

    code: str = Field(examples=["invalid_request"])
    message: str = Field(examples=["duration: Input should be greater than or equal to 1"])
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(default=None, examples=["duration"])
    details: dict[str, Any] = Field(default_factory=dict)


class ErrorBody(BaseModel):
    """The shape of every error."""

    error: ErrorFacts


class NoSuchGenerationError(CineletError):
    """There is no such generation, or it is somebody else's: the reply is the same."""

    code = "generation_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such generation")


class NoSuchPageError(CineletError):
    """A page was asked for by a cursor that no page gave."""

    code = "page_not_found"

    def __init__(self) -> None:
        super().__init__("after is not the `next` of a page; leave it out to begin with the first one")

    def facts(self) -> dict[str, Any]:
        """Return what is wrong."""
        return {"details": {"after": "Not the `next` of a page"}}


class NoVideoError(CineletError):
    """A generation has no video: not yet, or never."""

    code = "no_video"

    def __init__(self, generation_id: str, state: str) -> None:
        super().__init__(f"{generation_id} is {state}, so there is no video")


class NoImageError(CineletError):
    """A generation does not begin with an image."""

    code = "no_image"

    def __init__(self, generation_id: str) -> None:
        super().__init__(f"{generation_id} was made of text alone, so there is no image")


class NoPreviewError(CineletError):
    """There is no picture of what is being made: none was drawn yet, or it is no longer being made."""

    code = "no_preview"

    def __init__(self, generation_id: str) -> None:
        super().__init__(f"{generation_id} has no preview now; once it is made it has a thumbnail")


class NoSuchDeliveryError(CineletError):
    """There is no such delivery of a webhook, or it is somebody else's: the reply is the same."""

    code = "delivery_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such delivery")


class NoSuchBatchError(CineletError):
    """There is no such batch, or it is somebody else's: the reply is the same."""

    code = "batch_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such batch")


class NoSuchOrderError(CineletError):
    """There is no such order to load or unload a model, or it ended more than an hour ago."""

    code = "order_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such order, or it ended more than an hour ago")


class NotAuthenticatedError(CineletError):
    """A request came without a key, or with one that is none."""

    code = "not_authenticated"

    def __init__(self) -> None:
        super().__init__("A key is needed, and none that is valid was given; send it as: Authorization: Bearer cin_...")


class NotAllowedError(CineletError):
    """The key is valid, and may not do this. details: the field that asks for it, where there is one."""

    code = "not_allowed"

    def __init__(self, message: str, details: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.details = dict(details or {})

    def facts(self) -> dict[str, Any]:
        """What else is known."""
        return {"details": self.details} if self.details else {}


class LimitReachedError(CineletError):
    """The key, or its owner, has used what a limit grants. retry_after: seconds."""

    code = "rate_limited"
    retryable = True

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def facts(self) -> dict[str, Any]:
        """Return when to come back."""
        return {"retry_after": self.retry_after}


# The first that fits: a kind stands before what it is a kind of.
STATUS: tuple[tuple[type[CineletError], int], ...] = (
    (NoSuchGenerationError, HTTPStatus.NOT_FOUND),
    (NoSuchPageError, HTTPStatus.NOT_FOUND),
    (NoVideoError, HTTPStatus.CONFLICT),
    (NoImageError, HTTPStatus.NOT_FOUND),
    (NoPreviewError, HTTPStatus.NOT_FOUND),
    (NoSuchDeliveryError, HTTPStatus.NOT_FOUND),
    (NoSuchBatchError, HTTPStatus.NOT_FOUND),
    (NoSuchOrderError, HTTPStatus.NOT_FOUND),
    (NotAuthenticatedError, HTTPStatus.UNAUTHORIZED),
    (NotAllowedError, HTTPStatus.FORBIDDEN),
    (LimitReachedError, HTTPStatus.TOO_MANY_REQUESTS),
    (jobs.IdempotencyConflictError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (domain.FileSizeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (domain.ValidationError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (domain.ModelUnsupportedError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (domain.NoModelFitsError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (domain.ModelNotFoundError, HTTPStatus.NOT_FOUND),
    (domain.AuthenticationError, HTTPStatus.BAD_GATEWAY),
    (domain.PaymentRequiredError, HTTPStatus.BAD_GATEWAY),
    (domain.RateLimitError, HTTPStatus.SERVICE_UNAVAILABLE),
    (domain.CircuitOpenError, HTTPStatus.SERVICE_UNAVAILABLE),
    (domain.HuggingFaceAPIError, HTTPStatus.BAD_GATEWAY),
    (domain.DeadlineExceededError, HTTPStatus.GATEWAY_TIMEOUT),
    (domain.CapacityError, HTTPStatus.SERVICE_UNAVAILABLE),
    (domain.GenerationCancelledError, HTTPStatus.CONFLICT),
    (storage.BlobNotFoundError, HTTPStatus.NOT_FOUND),
    (storage.StorageError, HTTPStatus.SERVICE_UNAVAILABLE),
    (jobs.NoWorkerError, HTTPStatus.SERVICE_UNAVAILABLE),
    (jobs.DatabaseUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (CineletError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
REPLIES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": said}
    for status, said in (
        (400, "The request cannot be read"),
        (401, "A key is needed"),
        (403, "The key may not do this"),
        (404, "There is no such thing, or it is somebody else's"),
        (409, "Not in the state that this needs"),
        (413, "The body is too long"),
        (422, "A field is wrong; `param` names it"),
        (429, "A limit of the key is reached; `Retry-After` says when to come back"),
        (503, "Too much waits, or something is away for now; `Retry-After` says when to come back"),
    )
}
"""What every route may answer, for its description."""
BUSY_SECONDS = 5
"""When to come back, where an error does not say it itself."""


def status_of(error: CineletError) -> int:
    """Return the status code of an error."""
    return _status_of_kind(type(error))


def body_of(error: CineletError) -> dict[str, Any]:
    """Return an error as clients see it; `param` is the field that is wrong, where there is one."""
    return _body_of(error.to_dict(), status_of(error))


def _status_of_kind(kind: type[CineletError]) -> int:
    return next(status for known, status in STATUS if issubclass(kind, known))


def _kinds(kind: type[CineletError]) -> Iterator[type[CineletError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def _body_of(facts: Mapping[str, Any], status: int) -> dict[str, Any]:
    field = next(iter(facts.get("details") or {}), None)
    return error_body(
        code=facts["code"],
        message=facts["message"],
        kind="invalid_request_error" if status < 500 else "server_error",
        param="model" if field is None and not {"model", "models"}.isdisjoint(facts) else field,
        details={name: value for name, value in facts.items() if name not in {"code", "message"}},
    )


def error_body(
    *, code: str, message: str, kind: str, param: str | None = None, details: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the shape of every error; its details name the request and the trace, for whoever looks into the log."""
    names = here()
    told = {"request_id": names.get("request"), "trace_id": names.get("trace_id")}
    known = {**(details or {}), **{name: value for name, value in told.items() if value is not None}}
    return {"error": {"code": code, "message": message, "type": kind, "param": param, "details": known}}


def reply_to(error: CineletError) -> JSONResponse:
    """Return the reply to an error."""
    return _reply(error.to_dict(), status_of(error))


def reply_to_failure(facts: Mapping[str, Any]) -> JSONResponse:
    """Return the reply to who has waited for a generation that failed. facts: its error, as the ledger keeps it.

    The status is the one that the error has elsewhere, so that no client repeats what fails each time.
    """
    # What a host said, and not what this service says to its own callers with the same code.
    kinds = (kind for kind in _kinds(CineletError) if kind.code == facts["code"] and kind.__module__ != __name__)
    return _reply(facts, next((_status_of_kind(kind) for kind in kinds), HTTPStatus.BAD_GATEWAY))


def _reply(facts: Mapping[str, Any], status: int) -> JSONResponse:
    metrics.refused(facts["code"])
    headers = {}
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        headers["retry-after"] = str(math.ceil(facts.get("retry_after") or BUSY_SECONDS))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if status == HTTPStatus.CONFLICT:
        headers["x-should-retry"] = "false"
    return JSONResponse(_body_of(facts, status), status, headers)


def name_in_reply(name: str) -> str:
    """Return the name of a field as a reply can hold it, whatever a client has written: short, one line, Unicode."""
    return "".join(character if character.isprintable() else "?" for character in name[:60])


def wrong_fields(problems: Iterable[Mapping[str, Any]]) -> domain.ValidationError:
    """Return what pydantic found as our error, which names each field."""
    details: dict[str, str] = {}
    for problem in problems:
        place = [name_in_reply(str(part)) for part in problem["loc"] if part not in {"body", "query", "path", "header"}]
        # The value is not repeated: it may be a prompt.
        why = "Unknown field" if problem["type"] == "extra_forbidden" else problem["msg"].removeprefix("Value error, ")
        details[".".join(place) or "body"] = why
    message = "; ".join(f"{field}: {why}" for field, why in details.items())
    return domain.ValidationError(message, details)


def answer_errors(app: FastAPI) -> None:
    """Let every error of a route become a reply; what nobody foresaw is left to `RequestId`."""

    @app.exception_handler(CineletError)
    async def known(_: Request, error: CineletError) -> JSONResponse:
        return reply_to(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return reply_to(wrong_fields(error.errors()))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, CineletError):  # FastAPI's own word for what failed while it read a body
            return reply_to(error.__cause__)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        metrics.refused(code)
        message, headers = str(error.detail), error.headers
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(sorted(_methods(request)))
            message, headers = f"This path takes {allowed}, not the method of this request", {"allow": allowed}
        elif message == HTTPStatus.NOT_FOUND.phrase:  # Starlette's own, where no route fits
            message = "There is no such path; those that there are stand in /openapi.json"
        body = error_body(code=code, message=message, kind="invalid_request_error")
        return JSONResponse(body, error.status_code, headers)


def _methods(request: Request) -> list[str]:
    """Return what can be done with a path: not only by the first of its routes. What is not described is only read."""
    described: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    route: APIRoute | None = request.scope.get("route")
    if route is None:
        return ["GET"]
    return [method.upper() for method in described.get(route.path, route.methods or ())]
