"""What differs between providers: where their jobs are asked about, and how their replies read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar


class State(StrEnum):
    """Where a job is at its provider."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


_STATES = {
    State.QUEUED: {"in_queue", "queued", "created", "pending", "starting"},
    State.DONE: {"completed", "succeeded"},
    State.FAILED: {"failed", "error", "canceled", "cancelled", "aborted", "expired", "timeout", "timed_out"},
}


@dataclass(frozen=True, slots=True)
class Job:
    """Work that a provider took: its id, and the addresses to ask, as the provider wrote them.

    result_url: where the result is, unless the status says it. video_url: of a video that is there already; then the
    others may be missing.
    """

    id: str
    status_url: str | None = None
    result_url: str | None = None
    cancel_url: str | None = None
    video_url: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a provider says of a job. position: jobs before it. step of steps: how far it is. error: why it failed."""

    state: State
    position: int | None = None
    step: int = 0
    steps: int = 0
    error: Any = None
    video_url: str | None = None


class Provider(ABC):
    """One provider. A subclass names its hosts, and reads its replies.

    key_variable: the setting of its own key. hosts: what may see that key. router_query: what the router wants behind
    each address. cancel_method: how a job is cancelled. holds_request: whether it answers when the video is done.
    max_image_characters: the longest picture it takes, as a data URI.
    """

    name: ClassVar[str]
    key_variable: ClassVar[str]
    hosts: ClassVar[frozenset[str]]
    scheme: ClassVar[str] = "Bearer"
    router_query: ClassVar[str] = ""
    cancel_method: ClassVar[str] = "POST"
    holds_request: ClassVar[bool] = False
    max_image_characters: ClassVar[int | None] = None

    @abstractmethod
    def job(self, reply: Mapping[str, Any], *, url: str) -> Job | None:
        """Return the job that the reply to a submission names, or None. url: where it was submitted."""

    def report(self, reply: Mapping[str, Any]) -> Report:
        """Read the reply to a question about a job."""
        return Report(state_of(reply.get("status")), error=reply.get("error"))

    def video_url(self, result: Mapping[str, Any]) -> str | None:  # noqa: ARG002
        """Return where the video is, as the reply at the job's `result_url` says."""
        return None


def state_of(word: Any) -> State:
    """Return the state that a provider's word means. One that nobody knows does not end a job; its deadline does."""
    text = str(word).lower()
    return next((state for state, words in _STATES.items() if text in words), State.RUNNING)


def found(value: Any, *path: str | int) -> Any:
    """Return what lies in nested JSON values, or None: `found(reply, "data", "outputs", 0)`."""
    for key in path:
        match value, key:
            case dict(), str():
                value = value.get(key)
            case list(), int() if len(value) > key:
                value = value[key]
            case _:
                return None
    return value


def text(value: Any, *path: str | int) -> str | None:
    """Return a text that is not empty from nested JSON values, or None."""
    inner = found(value, *path)
    return inner if isinstance(inner, str) and inner else None


def number(value: Any, *path: str | int) -> int | None:
    """Return an integer from nested JSON values, or None."""
    inner = found(value, *path)
    return inner if isinstance(inner, int) and not isinstance(inner, bool) else None
