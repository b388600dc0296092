"""What the Hugging Face Hub, the network and the disk answer, as errors that say what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from cinelet.domain.errors import (
    AuthenticationError,
    CapacityError,
    CineletError,
    HuggingFaceAPIError,
    ModelNotFoundError,
    ProcessingError,
    RateLimitError,
)

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_WRITING = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})


@contextmanager
def errors_about(repo_id: str, *, with_token: bool) -> Iterator[None]:
    """Turn what `huggingface_hub` raises about a repository into our errors, each of one line.

    Its own text is left out: it has several lines, and the addresses in it may be signed.
    """
    import httpx2
    from huggingface_hub.errors import RevisionResolutionError

    try:
        yield
    # RuntimeError: the transfer library's own.
    except (OSError, ValueError, RuntimeError, httpx2.HTTPError, httpx2.InvalidURL, RevisionResolutionError) as error:
        raise _translated(_root(error), repo_id, with_token=with_token) from error


def _root(error: Exception) -> Exception:
    """Return what kept the library from the Hub where it says only that the cache has no answer either."""
    from huggingface_hub.errors import LocalEntryNotFoundError, RevisionResolutionError

    if isinstance(error, (LocalEntryNotFoundError, RevisionResolutionError)) and isinstance(error.__cause__, Exception):
        return _root(error.__cause__)
    return error


def _translated(error: Exception, repo_id: str, *, with_token: bool) -> CineletError:
    import httpx2
    from huggingface_hub import errors, is_offline_mode

    match error:
        case errors.HfHubHTTPError():
            return _refused(error, repo_id, with_token=with_token)
        case errors.HFValidationError():
            return ModelNotFoundError(f"{repo_id!r:.120} is no name on the Hub; use org/name, or local:./directory")
        case errors.OfflineModeIsEnabled() | errors.LocalEntryNotFoundError() | errors.RevisionResolutionError() if (
            is_offline_mode()
        ):
            message = f"{repo_id} is not on this machine, or not all of it, and HF_HUB_OFFLINE forbids to download it"
            return ModelNotFoundError(f"{message}; unset the variable, or give a directory: local:./directory")
        case httpx2.InvalidURL():
            return HuggingFaceAPIError("The Hub's address is not valid; correct HF_ENDPOINT")
        case httpx2.HTTPError() | TimeoutError() | errors.RevisionResolutionError():
            message = f"{repo_id} cannot be downloaded: the Hub cannot be reached ({type(error).__name__})"
            return HuggingFaceAPIError(f"{message}; check the network, or use a model that is on this machine")
        case OSError(errno=number) if number in _NO_ROOM:
            message = f"{repo_id} cannot be downloaded: the disk is full"
            return CapacityError(f"{message}; free some space, or set HF_HUB_CACHE to a folder on another disk")
        case OSError(errno=number) if number in _NO_WRITING:
            message = f"{repo_id} cannot be downloaded: the cache folder {error.filename or ''} cannot be written"
            return ProcessingError(f"{message}; set HF_HUB_CACHE to a folder that can", "downloading")
        case _:
            message = f"The download of {repo_id} failed ({type(error).__name__})"
            return HuggingFaceAPIError(f"{message}; try again: files that are complete are kept")


def _refused(error: Exception, repo_id: str, *, with_token: bool) -> CineletError:
    """Translate an answer of the Hub."""
    from huggingface_hub import errors

    response = getattr(error, "response")  # noqa: B009  (the class is known at run time only)
    status, request_id = response.status_code, getattr(error, "request_id", None)
    page = f"https://huggingface.co/{repo_id}"
    facts = {"status": status, "provider": "hub", "request_id": request_id}
    if isinstance(error, errors.GatedRepoError):
        todo = "with the account of your token" if with_token else "and set HF_TOKEN to a token of that account"
        return AuthenticationError(f"{repo_id} is gated: accept its terms at {page} {todo}", **facts)
    if isinstance(error, errors.DisabledRepoError):
        return ModelNotFoundError(f"{repo_id} has been disabled on the Hub; use another model", **facts)
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelNotFoundError(f"{repo_id} is empty on the Hub; use another model", **facts)
    if isinstance(error, errors.RepositoryNotFoundError):
        why = "the token may not read it" if with_token else "it is private and there is no token (HF_TOKEN)"
        return ModelNotFoundError(f"The Hub has no model {repo_id}, or {why}; check the spelling", **facts)
    if status in {401, 403}:
        message = f"The Hub refuses the token for {repo_id} (status {status})"
        return AuthenticationError(f"{message}; set HF_TOKEN to a valid one with read access", **facts)
    if status == 429:
        seconds = _seconds(response.headers.get("Retry-After"))
        when = "later" if seconds is None else f"in {seconds:g} s"
        return RateLimitError(f"The Hub counts too many requests; try again {when}", retry_after=seconds, **facts)
    message = f"The Hub answered {status} about {repo_id}"
    return HuggingFaceAPIError(f"{message}; try again later", **facts)


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None
