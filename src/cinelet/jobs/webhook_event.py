"""What a webhook says: the facts of a generation that has ended, and nothing of its prompt."""

from __future__ import annotations

import json
from typing import Any

from cinelet.jobs.deliveries import Delivery
from cinelet.jobs.generation import Generation
from cinelet.jobs.states import State

_MEASURED = (
    "video_size", "duration", "fps", "frames", "resolution", "codec", "container", "has_audio", "sha256", "seed",
    "generation_time", "cache",
)  # fmt: skip
"""Of a result. Not the adjustments, which may quote words of the prompt."""
CANCELLED = {"code": "cancelled", "message": "The generation was cancelled"}


def event_body(delivery: Delivery, generation: Generation) -> str:
    """Return the body, the same at each attempt: a generation that has ended does not change."""
    ended_at = generation.finished_at or delivery.created_at
    return json.dumps(
        {
            "id": delivery.id,
            "object": "event",
            "type": delivery.type,
            "created_at": int(ended_at.timestamp()),
            "data": _data(generation),
        }
    )


def _data(generation: Generation) -> dict[str, Any]:
    """Return the video as `/v1/videos` names things, and what was measured as `/v1/generations` does."""
    result, error = generation.result, generation.error
    if generation.state is State.CANCELLED:
        error = CANCELLED
    return {
        "id": generation.id,
        "object": "video",
        "status": "completed" if generation.state is State.COMPLETED else "failed",
        "state": generation.state.value,
        "model": generation.model or generation.requested_model,
        "requested_model": generation.requested_model,
        "created_at": int(generation.created_at.timestamp()),
        "completed_at": int(generation.finished_at.timestamp()) if generation.finished_at else None,
        "result": None if result is None else {name: result[name] for name in _MEASURED if name in result},
        "error": None if error is None else {"code": error["code"], "message": error["message"]},
    }
