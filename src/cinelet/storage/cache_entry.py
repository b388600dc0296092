"""What the cache knows of a video without opening it: JSON beside the blob."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cinelet.domain.request import VideoRequest
from cinelet.domain.result import Adjustment, Attempt, VideoFacts
from cinelet.domain.video import VideoResult

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A cached video. blob_key: where its bytes are; created_at: seconds since the epoch; the rest as in `VideoResult`.

    When it was last used is the time of modification of its JSON in the store, so that a use rewrites nothing.
    """

    key: str
    blob_key: str
    created_at: float
    facts: VideoFacts
    model: str
    revision: str | None
    seed: int | None
    applied: Mapping[str, Any]
    adjustments: tuple[Adjustment, ...]
    attempts: tuple[Attempt, ...]
    timings: Mapping[str, float]
    generation_time: float

    @classmethod
    def of(cls, result: VideoResult, *, key: str, blob_key: str, created_at: float, revision: str | None) -> CacheEntry:
        """Return the entry of a result."""
        return cls(
            key=key,
            blob_key=blob_key,
            created_at=created_at,
            facts=result.facts,
            model=result.model,
            revision=revision,
            seed=result.seed,
            applied=result.applied,
            adjustments=result.adjustments,
            attempts=result.attempts,
            timings=result.timings,
            generation_time=result.generation_time,
        )

    @classmethod
    def from_json(cls, content: bytes) -> CacheEntry | None:
        """Read an entry, or return None where the content is anything else."""
        try:
            return _adapter().validate_json(content)
        except ValueError:
            return None

    def to_json(self) -> bytes:
        """Return the entry as JSON."""
        return _adapter().dump_json(self)

    def result(self, path: Path, *, request: VideoRequest) -> VideoResult:
        """Return the result of `request`, whose file is a copy at `path`; the times are those of its making."""
        return VideoResult(
            path=path,
            request=request,
            facts=self.facts,
            model=self.model,
            requested_model=str(request.model),
            seed=self.seed,
            applied=self.applied,
            adjustments=self.adjustments,
            attempts=self.attempts,
            timings=self.timings,
            generation_time=self.generation_time,
        )


@functools.cache
def _adapter() -> TypeAdapter[CacheEntry]:
    from pydantic import TypeAdapter

    return TypeAdapter(CacheEntry)
